from __future__ import annotations

import inspect
from typing import get_type_hints

import numpy as np
import torch

from shape3d_amodal.crops import reocclusion
from shape3d_amodal.crops.reocclusion import reocclude
from shape3d_amodal.structures import InstanceCrops

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


def test_it_takes_crops_and_nothing_else() -> None:
    """Amodal masks, meshes and cameras cannot get in."""
    assert get_type_hints(reocclude)["crops"] is InstanceCrops
    assert list(inspect.signature(reocclude).parameters) == ["crops", "generator"]


def test_what_was_seen_is_what_is_learned() -> None:
    given = crops()
    batch = reocclude(given, np.random.default_rng(0))
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
    batch = reocclude(crops(), np.random.default_rng(1))
    unknown = batch.known < 0.1
    assert unknown.any(dim=(1, 2)).float().mean() > 0.5
    assert (batch.crops.occluder[unknown] > 0.9).all()
    assert (batch.amodal[unknown] < 0.2).all(), "and nothing is claimed there"


def test_erasers_bring_their_colours() -> None:
    given = crops()
    batch = reocclude(given, np.random.default_rng(2))
    # A pixel that is known and covered shows another instance's colour.
    covered = (batch.crops.occluder > 0.99) & (batch.known > 0.99)
    own = given.rgb[:, :, :1, :1].expand_as(batch.crops.rgb)
    differs = (batch.crops.rgb - own).abs().amax(dim=1) > 0.02
    assert covered.sum() > 500
    assert differs[covered].float().mean() > 0.95


def test_the_same_generator_gives_the_same_batch() -> None:
    first, second = (reocclude(crops(), np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.crops.rgb, second.crops.rgb) and torch.equal(first.amodal, second.amodal)


def test_one_crop_and_none() -> None:
    one = reocclude(crops()[:1], np.random.default_rng(4))
    assert one.crops.visible.isfinite().all() and one.crops.visible.sum() > 0
    assert len(reocclude(crops()[:0], np.random.default_rng(4)).amodal) == 0


def test_what_is_put_behind_may_hide_something_and_hides_nothing(monkeypatch) -> None:
    """Without erasers the disc stays whole; what is new about it is another's colour, known, and not the disc's."""
    given = crops()
    none = torch.zeros(N, S, S), torch.zeros(N, 3, S, S)
    monkeypatch.setattr(reocclusion, "_erasers", lambda *_: none)
    monkeypatch.setattr(reocclusion, "_cut_anew", lambda batch: batch)
    monkeypatch.setattr(reocclusion, "_BEHIND", 1.0)
    batch = reocclude(given, np.random.default_rng(5))
    assert torch.equal(batch.crops.visible, given.visible) and torch.equal(batch.amodal, given.visible)
    new = (batch.crops.occluder > 0.99) & (given.occluder == 0)
    assert (new.sum(dim=(1, 2)) > 20).float().mean() > 0.7
    assert (batch.known[new] == 1).all() and (batch.amodal[new] == 0).all()
    changed = (batch.crops.rgb - given.rgb).abs().amax(dim=1) > 1e-3
    assert changed[new].float().mean() > 0.95
    assert not changed[(given.visible > 0) | (given.occluder > 0)].any(), "it lies behind both"
    monkeypatch.setattr(reocclusion, "_BEHIND", 0.0)
    same = reocclude(given, np.random.default_rng(5))
    assert torch.equal(same.crops.occluder, given.occluder) and torch.equal(same.crops.rgb, given.rgb)


def test_behind_how_many_crops_something_is_put(monkeypatch) -> None:
    """Six of ten: within four standard deviations of 2,400 draws."""
    given = crops()
    everywhere = torch.ones(N, 4, S, S)
    monkeypatch.setattr(reocclusion, "_another_placed", lambda *_: everywhere)
    found = [reocclusion._behind(given, everywhere, np.random.default_rng(seed))[0] for seed in range(100)]
    background = 1 - given.visible - given.occluder
    some = torch.cat(found).flatten(1).any(dim=1).float().mean().item()
    assert abs(some - 0.6) < 4 * (0.6 * 0.4 / 2400) ** 0.5
    for masks in found:
        for mask, free in zip(masks, background, strict=True):
            assert torch.equal(mask, free) or not mask.any(), "all background or none"
