from __future__ import annotations

import inspect
from typing import get_type_hints

import numpy as np
import pytest
import torch

from shape3d_amodal.crops import reocclusion
from shape3d_amodal.crops.reocclusion import Covers, reocclude
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops

N, S = 24, 64


def crops() -> InstanceCrops:
    """Discs of random size in the middle, with a hidden stripe at the left and colours that tell them apart."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(S) + 0.5, torch.arange(S) + 0.5, indexing="ij")
    radius = 10 + 12 * torch.rand(N, generator=generator)
    disc = ((x - S / 2) ** 2 + (y - S / 2) ** 2 < radius[:, None, None] ** 2).float()
    occluder = torch.zeros(N, S, S)
    occluder[:, :, :24] = 1
    colour = torch.rand(N, 3, generator=generator)[:, :, None, None].expand(-1, -1, S, S)
    return InstanceCrops(colour, disc * (1 - occluder), occluder, torch.arange(N) % 3, torch.zeros(N, 4))


def once_more(given: InstanceCrops, seed: int) -> SupervisedCrops:
    """``given``, each crop covered by others of them."""
    return reocclude(given, given, Covers.draw(np.random.default_rng(seed), np.arange(len(given))))


def test_it_takes_crops_and_nothing_else() -> None:
    """Amodal masks, meshes and cameras cannot get in."""
    hints = get_type_hints(reocclude)
    assert hints["crops"] is hints["others"] is InstanceCrops and hints["covers"] is Covers
    assert list(inspect.signature(reocclude).parameters) == ["crops", "others", "covers"]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 30])
def test_others_are_near_and_not_the_crop_itself(count: int) -> None:
    rows = np.arange(100, 100 + count)
    found = Covers.draw(np.random.default_rng(0), rows).others
    assert np.isin(found, rows).all()
    assert (abs(found - rows[:, None]) < 8).all()
    assert count == 1 or (found != rows[:, None]).all()
    for row, others in zip(rows[:8], found, strict=False):
        if count == 8:
            assert (others < 108).all() and row < 108


def test_every_other_of_a_group_comes_alike_often() -> None:
    """Within five standard deviations of 7 draws of 7 others for each of 800 groups."""
    found = np.stack([Covers.draw(np.random.default_rng(seed), np.arange(8)).others for seed in range(800)])
    times = np.array([[(found[:, row] == other).sum() for other in range(8)] for row in range(8)])
    assert (np.diag(times) == 0).all()
    assert abs(times[~np.eye(8, dtype=bool)] - 800).max() < 5 * (5600 * (1 / 7) * (6 / 7)) ** 0.5


def test_a_part_is_covered_as_in_the_whole() -> None:
    given = crops()
    covers = Covers.draw(np.random.default_rng(6), np.arange(N))
    whole = reocclude(given, given, covers)
    for rows in (slice(0, 6), slice(6, 7), slice(7, N)):
        part = reocclude(given[rows], given, covers[rows])
        assert part == whole[rows]


def test_what_was_seen_is_what_is_learned() -> None:
    given = crops()
    batch = once_more(given, 0)
    seen, covered = batch.crops.visible, batch.crops.occluder
    assert (seen <= batch.amodal + 1e-5).all(), "what is visible is of the object"
    newly = (batch.amodal - seen).sum(dim=(1, 2)) / batch.amodal.sum(dim=(1, 2))
    assert (newly > 0.04).float().mean() > 0.7
    assert newly.max() < 0.99
    hidden_now = (batch.amodal > 0.9) & (seen < 0.1)
    assert (covered[hidden_now] > 0.5).all(), "under an eraser"
    assert (batch.known[hidden_now] > 0.4).all(), "where it is known what there is"
    assert (seen + covered <= 1 + 1e-5).all()
    assert torch.equal(batch.crops.category, given.category)


def test_what_was_hidden_before_stays_unknown() -> None:
    batch = once_more(crops(), 1)
    unknown = batch.known < 0.1
    assert unknown.any(dim=(1, 2)).float().mean() > 0.5
    assert (batch.crops.occluder[unknown] > 0.9).all()
    assert (batch.amodal[unknown] < 0.2).all(), "and nothing is claimed there"


def test_erasers_bring_their_colours() -> None:
    given = crops()
    batch = once_more(given, 2)
    # A pixel that is known and covered shows another instance's colour.
    covered = (batch.crops.occluder > 0.99) & (batch.known > 0.99)
    own = given.rgb[:, :, :1, :1].expand_as(batch.crops.rgb)
    differs = (batch.crops.rgb - own).abs().amax(dim=1) > 0.02
    assert covered.sum() > 500
    assert differs[covered].float().mean() > 0.95


def test_the_same_generator_gives_the_same_batch() -> None:
    first, second = (once_more(crops(), 3) for _ in range(2))
    assert torch.equal(first.crops.rgb, second.crops.rgb) and torch.equal(first.amodal, second.amodal)


def test_one_crop_and_none() -> None:
    one = once_more(crops()[:1], 4)
    assert one.crops.visible.isfinite().all() and one.crops.visible.sum() > 0
    assert len(once_more(crops()[:0], 4).amodal) == 0


def test_what_is_put_behind_may_hide_something_and_hides_nothing(monkeypatch) -> None:
    """Without erasers the disc stays whole; what is new about it is another's colour, known, and not the disc's."""
    given = crops()
    none = torch.zeros(N, S, S), torch.zeros(N, 3, S, S)
    monkeypatch.setattr(reocclusion, "_erasers", lambda *_: none)
    monkeypatch.setattr(reocclusion, "_cut_anew", lambda batch: batch)
    monkeypatch.setattr(reocclusion, "_BEHIND", 1.0)
    batch = once_more(given, 5)
    assert torch.equal(batch.crops.visible, given.visible) and torch.equal(batch.amodal, given.visible)
    new = (batch.crops.occluder > 0.99) & (given.occluder == 0)
    assert (new.sum(dim=(1, 2)) > 20).float().mean() > 0.7
    assert (batch.known[new] == 1).all() and (batch.amodal[new] == 0).all()
    changed = (batch.crops.rgb - given.rgb).abs().amax(dim=1) > 1e-3
    assert changed[new].float().mean() > 0.95
    assert not changed[(given.visible > 0) | (given.occluder > 0)].any(), "it lies behind both"
    monkeypatch.setattr(reocclusion, "_BEHIND", 0.0)
    same = once_more(given, 5)
    assert torch.equal(same.crops.occluder, given.occluder) and torch.equal(same.crops.rgb, given.rgb)


def test_behind_how_many_crops_something_is_put(monkeypatch) -> None:
    """Six of ten: within four standard deviations of 2,400 draws."""
    given = crops()
    everywhere = torch.ones(N, 4, S, S)
    monkeypatch.setattr(reocclusion, "_another_placed", lambda *_: everywhere)
    found = [
        reocclusion._behind(given, everywhere, Covers.draw(np.random.default_rng(seed), np.arange(N)))[0]
        for seed in range(100)
    ]
    background = 1 - given.visible - given.occluder
    some = torch.cat(found).flatten(1).any(dim=1).float().mean().item()
    assert abs(some - 0.6) < 4 * (0.6 * 0.4 / 2400) ** 0.5
    for masks in found:
        for mask, free in zip(masks, background, strict=True):
            assert torch.equal(mask, free) or not mask.any(), "all background or none"
