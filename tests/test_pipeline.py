from __future__ import annotations

from dataclasses import replace

import exif_files
import numpy as np
import pytest
import torch
from boxes import BoxMeshes
from PIL import Image
from tiny import QUICK_BANK, tiny_config, tiny_model

from shape3d_amodal.errors import MissingBackendError, UsageError, WeightsError
from shape3d_amodal.files.safe_io import read_image
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.masks import encode
from shape3d_amodal.masks.occlusion import VisibleObjects, occluders
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.bank.prior import BankPrior
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.learned.fit import LearnedPrior
from shape3d_amodal.structures import OCCLUDER


@pytest.fixture(scope="module")
def pipeline() -> ShapePriorPipeline:
    return ShapePriorPipeline.from_model(tiny_model())


def seen(masks: list[np.ndarray], names: list[str]) -> VisibleObjects:
    return VisibleObjects(masks, names, occluders(masks))


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rectangle(rows: slice, columns: slice, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


CHAIR = rectangle(slice(20, 40), slice(10, 40))
TABLE = rectangle(slice(15, 45), slice(40, 60))


@pytest.mark.parametrize("fit_steps", [0, 2])
def test_visible_mask_is_kept_and_known_background_left_out(pipeline: ShapePriorPipeline, fit_steps: int) -> None:
    chair, table = pipeline.with_fit_steps(fit_steps).complete(picture(), [CHAIR, TABLE], ["chair", "table"])
    for one, visible, other in ((chair, CHAIR, TABLE), (table, TABLE, CHAIR)):
        assert (one.visible == visible).all()
        assert one.amodal[visible].all()
        assert not one.amodal[~(visible | other)].any()
        assert (one.occluded == (one.amodal & ~visible)).all()
        assert 0 <= one.score <= 1
        assert one.verts.shape == (42, 3) and np.isfinite(one.verts).all()
        assert one.faces.max() < len(one.verts)
    assert [chair.category, table.category] == ["chair", "table"]


def test_what_is_behind_hides_nothing(pipeline: ShapePriorPipeline) -> None:
    chair, _ = pipeline.complete(picture(), [CHAIR, TABLE], ["chair", "table"], depth_order=[0, 1])
    assert (chair.amodal == CHAIR).all()
    (chair, table) = pipeline.complete(picture(), [CHAIR, TABLE], ["chair", "table"], in_front=[(1, 0)])
    assert (table.amodal == TABLE).all()


def test_occluders_hide_but_are_not_completed(pipeline: ShapePriorPipeline) -> None:
    objects = pipeline.complete(picture(), [TABLE, CHAIR], [OCCLUDER, "chair"])
    assert [one.category for one in objects] == ["chair"]
    assert not objects[0].amodal[~(CHAIR | TABLE)].any()


def test_nothing_to_complete(pipeline: ShapePriorPipeline) -> None:
    assert pipeline.complete(picture(), [], []) == []
    assert pipeline.complete(picture(), [TABLE], [OCCLUDER]) == []


@pytest.mark.parametrize(
    "visible",
    [
        rectangle(slice(30, 31), slice(40, 41)),
        rectangle(slice(0, 60), slice(0, 80)),
        rectangle(slice(0, 3), slice(78, 80)),
        rectangle(slice(59, 60), slice(0, 80)),
    ],
    ids=["one pixel", "the whole image", "in a corner", "one row at the border"],
)
@pytest.mark.parametrize("fit_steps", [0, 2])
def test_awkward_masks_still_get_a_mask(pipeline: ShapePriorPipeline, visible: np.ndarray, fit_steps: int) -> None:
    surrounding = ~visible
    masks, names = [visible], ["lamp"]
    if surrounding.any():
        masks, names = [visible, surrounding], ["lamp", OCCLUDER]
    (lamp,) = pipeline.with_fit_steps(fit_steps).complete(picture(), masks, names)
    assert lamp.amodal[visible].all()
    assert np.isfinite(lamp.score)


def test_refine_modes(pipeline: ShapePriorPipeline) -> None:
    bare = ShapePriorPipeline.from_model(pipeline.model, refine="none")
    union = ShapePriorPipeline.from_model(pipeline.model, refine="visible-union")
    flat = ShapePriorPipeline.from_model(pipeline.model, refine="2d")
    (without_prior,) = flat.complete(picture(), [CHAIR, TABLE], ["chair", OCCLUDER])
    assert without_prior.amodal[CHAIR].all()
    assert len(without_prior.verts) == len(without_prior.faces) == 0 and without_prior.viewpoint == {}
    assert not without_prior.amodal[~(CHAIR | TABLE)].any()
    (none,) = bare.complete(picture(), [CHAIR, TABLE], ["chair", OCCLUDER])
    (joined,) = union.complete(picture(), [CHAIR, TABLE], ["chair", OCCLUDER])
    assert (none.amodal == none.silhouette).all()
    assert joined.amodal[CHAIR].all()
    assert not joined.amodal[~(CHAIR | TABLE)].any()


def test_two_priors_are_shown_together_and_the_better_one_gives_the_mesh(boxes: BoxMeshes) -> None:
    config = tiny_config()
    torch.manual_seed(0)
    model = AmodalModel(replace(config, refinement=replace(config.refinement, priors=("bank", "learned"))))
    bank = BankPrior(ShapeBank(boxes), config.categories, QUICK_BANK)
    pipeline = ShapePriorPipeline({"learned": LearnedPrior(model.prior, config.categories), "bank": bank}, model)
    assert pipeline.categories == bank.known
    crops, _ = pipeline.crops(picture(), seen([CHAIR, TABLE], ["chair", "table"]))
    shown: list[list[torch.Tensor]] = []
    model.refinement.register_forward_pre_hook(lambda _, given: shown.append(given[1:]))
    prediction = pipeline.predict(crops)
    small = crops.resized(config.crop_size)
    estimates = [bank.estimate(crops).resized(small.size), model.prior.estimate(small)]
    (silhouettes, fits) = shown[0]
    for i, estimate in enumerate(estimates):
        torch.testing.assert_close(silhouettes[i], estimate.silhouette)
        torch.testing.assert_close(fits[i], estimate.fit)
    better = torch.stack([estimate.fit for estimate in estimates]).argmax(dim=0).tolist()
    for row, which in enumerate(better):
        own = estimates[which]
        torch.testing.assert_close(prediction.estimate.fit[row], own.fit[row])
        torch.testing.assert_close(prediction.estimate.verts[row, : own.verts.shape[1]], own.verts[row])
        assert prediction.estimate.verts[row, own.verts.shape[1] :].abs().sum() == 0
    assert 0 in better, "boxes explain rectangles"


def test_weights_without_a_bank_have_none(pipeline: ShapePriorPipeline, tmp_path) -> None:
    pipeline.save_pretrained(tmp_path / "weights")
    with pytest.raises(UsageError, match="priors: these weights know no bank"):
        ShapePriorPipeline.from_pretrained(tmp_path / "weights", priors=["bank"])


def fit_steps_of(pipeline: ShapePriorPipeline) -> dict[str, int]:
    """How many steps each prior fits."""
    priors = pipeline.priors
    steps = {"learned": priors["learned"].fit.steps} if "learned" in priors else {}
    return {**steps, "bank": priors["bank"].config.fit_steps}


def test_weights_bring_their_bank_and_their_fit(boxes: BoxMeshes, box_folder, tmp_path) -> None:
    config = tiny_config()
    refinement = replace(config.refinement, priors=("learned", "bank"))
    config = replace(config, refinement=refinement, meshes=str(box_folder), fit_steps=3)
    AmodalModel(config).save(tmp_path / "weights")
    again = ShapePriorPipeline.from_pretrained(tmp_path / "weights")
    assert fit_steps_of(again) == {"learned": 0, "bank": 3}
    assert set(again.categories) == {boxes.category(name) for name in boxes.names}
    (chair,) = again.complete(picture(), [CHAIR, TABLE], ["chair", OCCLUDER])
    assert chair.amodal[CHAIR].all() and len(chair.faces) > 0
    assert list(ShapePriorPipeline.from_pretrained(tmp_path / "weights", priors=["bank"]).priors) == ["bank"]


def test_other_meshes_are_fitted_as_the_refinement_has_learned(box_folder, tmp_path) -> None:
    config = tiny_config()
    refinement = replace(config.refinement, priors=("learned", "bank"))
    config = replace(config, refinement=refinement, meshes=str(tmp_path / "gone"), fit_steps=3)
    AmodalModel(config).save(tmp_path / "weights")
    again = ShapePriorPipeline.from_meshes(box_folder, weights=tmp_path / "weights", refine="full")
    assert fit_steps_of(again) == {"learned": 0, "bank": 3}
    asked = ShapePriorPipeline.from_meshes(box_folder, weights=tmp_path / "weights", refine="full", fit_steps=0)
    assert fit_steps_of(asked) == {"learned": 0, "bank": 0}
    assert fit_steps_of(ShapePriorPipeline.from_meshes(box_folder)) == {"bank": 30}
    assert fit_steps_of(again.with_fit_steps(2)) == {"learned": 2, "bank": 2}


def test_results_do_not_depend_on_what_else_is_in_the_batch(pipeline: ShapePriorPipeline) -> None:
    crops, _ = pipeline.crops(picture(), seen([CHAIR, TABLE] * 20, ["chair", "table"] * 20))
    many = pipeline.predict(crops)
    one = pipeline.predict(crops[:1])
    torch.testing.assert_close(many.probability[:1], one.probability, atol=1e-4, rtol=0)
    assert len(many.estimate.fit) == 40


def test_weights_survive_saving(pipeline: ShapePriorPipeline, tmp_path) -> None:
    pipeline.save_pretrained(tmp_path / "weights")
    again = ShapePriorPipeline.from_pretrained(tmp_path / "weights")
    assert again.model.config == pipeline.model.config
    first = pipeline.complete(picture(), [CHAIR, TABLE], ["chair", "table"])
    second = again.complete(picture(), [CHAIR, TABLE], ["chair", "table"])
    assert all((a.amodal == b.amodal).all() for a, b in zip(first, second, strict=True))


def test_bad_weights(pipeline: ShapePriorPipeline, tmp_path) -> None:
    with pytest.raises(WeightsError, match="no such folder of weights"):
        ShapePriorPipeline.from_pretrained(tmp_path / "none")
    folder = tmp_path / "weights"
    pipeline.save_pretrained(folder)
    damaged = bytearray((folder / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "model.safetensors").write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        ShapePriorPipeline.from_pretrained(folder)
    save_weights(tmp_path / "other", (folder / "config.yaml").read_text(), {"tensor": torch.zeros(1)})
    with pytest.raises(WeightsError, match="do not fit the configuration"):
        ShapePriorPipeline.from_pretrained(tmp_path / "other")


EMPTY = np.zeros((60, 80), bool)


@pytest.mark.parametrize(
    ("image", "visible", "categories", "order", "message"),
    [
        (picture().astype(np.float32), [CHAIR], ["chair"], None, r"image: expected \[H,W,3\] uint8"),
        (picture()[..., :2], [CHAIR], ["chair"], None, r"image: expected \[H,W,3\] uint8"),
        (picture(), [CHAIR[:-1]], ["chair"], None, r"visible\[0\]: expected \[60, 80\] bool"),
        (picture(), [CHAIR * np.uint8(7)], ["chair"], None, r"visible\[0\]: expected bool, 0 and 1, or 0 and 255, got"),
        (picture(), CHAIR, ["chair"], None, "visible: expected one mask for each object, got a single one"),
        (picture(), [CHAIR], "chair", None, "categories: expected a list with an item for each object, got 'chair'"),
        (picture(), [CHAIR], {"chair"}, None, "categories: expected a list with an item for each object, got set"),
        (picture(), [CHAIR], ["chair"], {0}, "depth_order: expected a list with an item for each object, got set"),
        (picture(), [CHAIR], ["chair"], [0.5], r"depth_order\[0\]: expected a whole rank .* got 0\.5"),
        (picture(), [CHAIR, EMPTY], ["chair", "table"], None, r"visible\[1\]: the mask is empty"),
        (
            picture(),
            [CHAIR],
            ["dragon"],
            None,
            r"categories\[0\]: unknown category 'dragon'; known are airplane",
        ),
        (picture(), [CHAIR], [4], None, r"categories\[0\]: expected a name, got 4; known are airplane"),
        (picture(), [CHAIR], ["chair", "table"], None, "categories: expected one for each of the 1 masks, got 2"),
        (picture(), [CHAIR], ["chair"], [0, 1], "depth_order: expected one for each of the 1 masks, got 2"),
    ],
)
def test_bad_arguments(pipeline: ShapePriorPipeline, image, visible, categories, order, message) -> None:
    with pytest.raises(UsageError, match=message):
        pipeline.complete(image, visible, categories, depth_order=order)


def test_gaps_between_predicted_masks_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the refinement says yes everywhere, the mask fills the gap, but no background near one mask alone."""
    left, right = rectangle(slice(20, 40), slice(10, 30)), rectangle(slice(20, 40), slice(32, 60))
    gap = rectangle(slice(22, 38), slice(30, 32))
    for gap_px, filled in ((0, 0.0), (2, 1.0)):
        pipeline = ShapePriorPipeline.from_model(tiny_model(), gap_px=gap_px)
        monkeypatch.setattr(
            pipeline.model.refinement, "forward", lambda crops, *_: torch.full_like(crops.visible, 20.0)
        )
        (one,) = pipeline.complete(picture(), [left, right], ["chair", OCCLUDER])
        assert one.amodal[gap].mean() == filled
        assert not one.amodal[:15].any() and not one.amodal[45:].any() and not one.amodal[:, :10].any()


@pytest.mark.parametrize(
    ("device", "error"), [("toaster", UsageError), ("meta", UsageError), ("cuda:63", MissingBackendError)]
)
def test_bad_devices(pipeline: ShapePriorPipeline, tmp_path, device: str, error: type[Exception]) -> None:
    pipeline.save_pretrained(tmp_path / "weights")
    with pytest.raises(error, match="device: "):
        ShapePriorPipeline.from_pretrained(tmp_path / "weights", device=device)


def test_a_folder_without_weights_does_not_hide_shipped_ones(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "open13").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(ShapePriorPipeline.from_pretrained("open13").categories) == 13


@pytest.mark.parametrize("form", ["uint8", "0 and 255", "RLE", "polygons", "Rle", "PIL", "turned", "one array"])
def test_every_form_of_a_mask_gives_the_same_result(pipeline: ShapePriorPipeline, form: str) -> None:
    expected = pipeline.complete(picture(), [CHAIR, TABLE], ["chair", "table"])
    turned = {"turned": lambda mask: np.ascontiguousarray(mask[::-1, ::-1])[::-1, ::-1]}
    forms = {
        **turned,
        "uint8": lambda mask: mask.astype(np.uint8),
        "0 and 255": lambda mask: mask * np.uint8(255),
        "RLE": lambda mask: encode(mask).to_coco(),
        "Rle": encode,
        "polygons": lambda mask: [corners(mask)],
        "PIL": Image.fromarray,
        "one array": lambda mask: mask,
    }
    visible = [forms[form](mask) for mask in (CHAIR, TABLE)]
    given = np.stack(visible) if form == "one array" else visible
    found = pipeline.complete(picture(), given, ["chair", "table"])
    assert found == expected


def corners(mask: np.ndarray) -> list[int]:
    """A rectangle as one polygon."""
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return [int(value) for value in (left, top, right, top, right, bottom, left, bottom)]


def test_every_form_of_an_image_gives_the_same_result(pipeline: ShapePriorPipeline, tmp_path) -> None:
    expected = pipeline.complete(picture(), [CHAIR], ["chair"])
    Image.fromarray(picture()).save(tmp_path / "a.png")
    turned = np.ascontiguousarray(picture()[:, ::-1])[:, ::-1]
    floats = (picture() / 255).astype(np.float32)
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(picture()), turned, floats):
        assert pipeline.complete(image, [CHAIR], ["chair"]) == expected


@pytest.mark.parametrize("refine", ["fulll", "", "Full", 2, True, ["full"]])
def test_what_is_no_refinement_is_named(pipeline: ShapePriorPipeline, box_folder, refine) -> None:
    makers = (
        lambda: ShapePriorPipeline(pipeline.priors, pipeline.model, refine=refine),
        lambda: ShapePriorPipeline.from_model(pipeline.model, refine=refine),
        lambda: ShapePriorPipeline.from_pretrained("open13", refine=refine),
        lambda: ShapePriorPipeline.from_meshes(box_folder, refine=refine),
    )
    for make in makers:
        with pytest.raises(UsageError, match="refine: expected none, visible-union, 2d, full, got ") as caught:
            make()
        assert repr(refine) in str(caught.value)


def weights_of(*priors: str, meshes: str | None = None) -> AmodalModel:
    """Networks whose refinement has learned to use these priors."""
    config = tiny_config()
    config = replace(config, refinement=replace(config.refinement, priors=priors), meshes=meshes)
    torch.manual_seed(0)
    return AmodalModel(config)


def test_weights_that_have_learned_no_prior_are_a_2d_completion() -> None:
    model = weights_of()
    pipeline = ShapePriorPipeline.from_model(model)
    assert pipeline.refine == "2d"
    (chair,) = pipeline.complete(picture(), [CHAIR, TABLE], ["chair", OCCLUDER])
    assert not len(chair.faces) and not chair.silhouette.any()
    asked = ShapePriorPipeline.from_model(model, refine="2d").complete(picture(), [CHAIR, TABLE], ["chair", OCCLUDER])
    assert asked == [chair]
    for refine in ("full", "visible-union", "none"):
        with pytest.raises(UsageError, match="has learned to use no prior; leave refine out, or 2d"):
            ShapePriorPipeline.from_model(model, refine=refine)
    with pytest.raises(UsageError, match="has learned to use no prior"):
        ShapePriorPipeline({"learned": LearnedPrior(model.prior, model.config.categories)}, model)
    with pytest.raises(UsageError, match="priors: refine 2d asks none"):
        ShapePriorPipeline.from_model(model, priors=["learned"])


def test_shipped_2d_weights_do_what_they_were_trained_for() -> None:
    assert ShapePriorPipeline.from_pretrained("baselines/unet2d").refine == "2d"
    assert ShapePriorPipeline.from_pretrained("open13").refine == "full"
    with pytest.raises(UsageError, match="leave refine out, or 2d"):
        ShapePriorPipeline.from_pretrained("baselines/unet2d", refine="full")


def test_a_prior_that_the_weights_have_not_learned_is_refused(box_folder) -> None:
    only_bank = weights_of("bank", meshes=str(box_folder))
    for refine in ("full", "visible-union"):
        with pytest.raises(UsageError, match="has not learned to use learned; take bank"):
            ShapePriorPipeline.from_model(only_bank, priors=["learned"], refine=refine)
    assert list(ShapePriorPipeline.from_model(only_bank).priors) == ["bank"]


def test_meshes_with_weights_are_refined_by_them(box_folder, tmp_path) -> None:
    weights_of("learned", "bank", meshes="elsewhere").save(tmp_path / "both")
    weights_of("learned").save(tmp_path / "learned")
    both = ShapePriorPipeline.from_meshes(box_folder, weights=tmp_path / "both")
    assert (both.refine, list(both.priors)) == ("full", ["learned", "bank"])
    assert ShapePriorPipeline.from_meshes(box_folder).refine == "visible-union"
    with pytest.raises(UsageError, match="has not learned to use a bank; take others, such as open13_bank"):
        ShapePriorPipeline.from_meshes(box_folder, weights=tmp_path / "learned")
    with pytest.raises(UsageError, match="weights: visible-union of a bank needs none"):
        ShapePriorPipeline.from_meshes(box_folder, weights=tmp_path / "both", refine="visible-union")
    with pytest.raises(UsageError, match="refine: 2d looks at no shapes"):
        ShapePriorPipeline.from_meshes(box_folder, weights=tmp_path / "both", refine="2d")


@pytest.mark.parametrize("number", [1.5, "3", None, True, float("nan")])
def test_numbers_that_are_not_whole(pipeline: ShapePriorPipeline, number) -> None:
    with pytest.raises(UsageError, match="gap_px: expected a whole number of pixels"):
        ShapePriorPipeline.from_model(pipeline.model, gap_px=number)
    with pytest.raises(UsageError, match="fit_steps: expected a whole number of steps"):
        pipeline.with_fit_steps(number)
    if number is not None:
        with pytest.raises(UsageError, match="fit_steps: expected a whole number of steps"):
            ShapePriorPipeline.from_model(pipeline.model, fit_steps=number)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(0, 2)], "in_front: expected a place in visible, 1 or fewer, got 2"),
        ([(0, 0)], "in_front: expected pairs"),
        ([(0,)], "in_front: expected pairs"),
        ([(0.0, 1)], "in_front: expected a whole place in visible"),
        ([0, 1], "in_front: expected pairs"),
        ("01", "in_front: expected a list"),
    ],
)
def test_pairs_that_are_none(pipeline: ShapePriorPipeline, pairs, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pipeline.complete(picture(), [CHAIR, TABLE], ["chair", "table"], in_front=pairs)


def test_ranks_of_numpy_are_ranks(pipeline: ShapePriorPipeline) -> None:
    expected = pipeline.complete(picture(), [CHAIR, TABLE], ["chair", "table"], depth_order=[0, 1])
    for ranks in (np.array([3, 7]), (np.int32(0), 5), [0, np.uint8(1)]):
        assert pipeline.complete(picture(), [CHAIR, TABLE], ["chair", "table"], depth_order=ranks) == expected


def test_a_pipeline_says_shortly_what_it_is(pipeline: ShapePriorPipeline) -> None:
    assert repr(pipeline) == "ShapePriorPipeline(prior learned, refine full, 13 categories, on cpu)"
    flat = ShapePriorPipeline.from_model(pipeline.model, refine="2d", gap_px=2)
    expected = "ShapePriorPipeline(no prior, refine 2d, 13 categories, gaps of 2 pixels closed, on cpu)"
    assert repr(flat) == expected


def test_bad_numbers(pipeline: ShapePriorPipeline) -> None:
    with pytest.raises(UsageError, match="fit_steps"):
        pipeline.with_fit_steps(-1)
    with pytest.raises(UsageError, match="fit_steps"):
        ShapePriorPipeline.from_model(pipeline.model, fit_steps=-1)
    with pytest.raises(UsageError, match="gap_px"):
        ShapePriorPipeline.from_model(pipeline.model, gap_px=-1)


def test_a_prior_of_another_name_is_refused(pipeline: ShapePriorPipeline) -> None:
    with pytest.raises(UsageError, match="priors: expected learned, bank, got 'lerned'"):
        ShapePriorPipeline.from_model(pipeline.model, priors=["lerned"])
    with pytest.raises(UsageError, match="priors: expected learned, bank, got 'lerned'"):
        ShapePriorPipeline.from_pretrained("open13", priors=["bank", "lerned"])
    with pytest.raises(UsageError, match="priors: expected learned, bank, got 'lerned'"):
        ShapePriorPipeline({"lerned": pipeline.priors["learned"]}, pipeline.model)
    for priors in ({}, [pipeline.priors["learned"]], None):
        with pytest.raises(UsageError, match="priors: expected one or more by their names"):
            ShapePriorPipeline(priors, pipeline.model)
    with pytest.raises(UsageError, match=r"priors: expected a list .* got 'learned'"):
        ShapePriorPipeline.from_model(pipeline.model, priors="learned")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShapePriorPipeline.from_pretrained(None), "name_or_folder: expected a name or a path, got None"),
        (lambda: ShapePriorPipeline.from_pretrained(""), "name_or_folder: expected a name or a path, got ''"),
        (lambda: ShapePriorPipeline.from_pretrained("open13", fit=3), "fit: expected a FitConfig, got 3"),
        (lambda: ShapePriorPipeline.from_pretrained("open13", priors=[]), "priors: expected one or more names"),
        (lambda: ShapePriorPipeline.from_meshes(None), "meshes: expected a name or a path, got None"),
        (lambda: ShapePriorPipeline.from_meshes("a", weights=5), "weights: expected a name or a path, got 5"),
        (
            lambda: ShapePriorPipeline.from_meshes("a", views="side"),
            "views: expected upright, tabletop, all, got 'side'",
        ),
        (lambda: ShapePriorPipeline.from_meshes("a", hypotheses=-1), "hypotheses: expected a number of answers, 0 or"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(make, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("camera", "came"),
    [
        ((500, 500, 40), "got [3] numbers"),
        (np.eye(3) * 500, "got [3, 3] numbers; of OpenCV's matrix K give (K[0, 0], K[1, 1], K[0, 2] + 0.5"),
        ((0, 500, 40, 30), "got (0, 500, 40, 30)"),
        ((500, -500, 40, 30), "got (500, -500, 40, 30)"),
        ((500, 500, float("nan"), 30), "got (500, 500, nan, 30)"),
        (("500", 500, 40, 30), "got ('500', 500, 40, 30)"),
        (500, "got 500"),
        ((500, 500, 1e30, 30), "none beyond 1,000,000, got (500, 500, 1e+30, 30)"),
    ],
)
def test_what_is_no_camera_is_refused(pipeline: ShapePriorPipeline, camera: object, came: str) -> None:
    with pytest.raises(UsageError) as caught:
        pipeline.complete(picture(), [CHAIR], ["chair"], intrinsics=camera)
    assert str(caught.value).startswith("intrinsics: expected (fx, fy, cx, cy) in pixels, fx and fy positive, ")
    assert came in str(caught.value) and "\n" not in str(caught.value)
    for given in ((500, 500.0, 40, 30), np.array([500, 500, 40, 30]), [500, 500, np.float32(40), 30]):
        assert len(pipeline.complete(picture(), [CHAIR], ["chair"], intrinsics=given)) == 1


def test_a_focal_length_in_millimetres_is_refused(pipeline: ShapePriorPipeline) -> None:
    with pytest.raises(
        UsageError, match="a focal length of 4 pixels sees more than 150 degrees in this image; give pix"
    ):
        pipeline.complete(picture(), [CHAIR], ["chair"], intrinsics=(4, 4, 40, 30))


def test_what_a_bank_says_is_kept_beside_another_prior(boxes: BoxMeshes) -> None:
    """The mask is stage 5's, whoever explains more; the pose and the answers are the bank's."""
    config = tiny_config()
    torch.manual_seed(0)
    model = AmodalModel(replace(config, refinement=replace(config.refinement, priors=("bank", "learned"))))
    bank = BankPrior(ShapeBank(boxes), config.categories, replace(QUICK_BANK, hypotheses=2))
    both = ShapePriorPipeline({"learned": LearnedPrior(model.prior, config.categories), "bank": bank}, model)
    camera = (90, 90, 40, 30)
    found = both.complete(picture(), [CHAIR, TABLE], ["chair", "table"], intrinsics=camera)
    alone = ShapePriorPipeline({"bank": bank}, refine="visible-union")
    for one, own in zip(
        found, alone.complete(picture(), [CHAIR, TABLE], ["chair", "table"], intrinsics=camera), strict=True
    ):
        assert one.pose is not None and one.pose == own.pose and one.model == own.model in boxes.names
        assert own.to_camera is not None and one.to_camera is None, "its mesh may be the other prior's"
        assert [chance for _, chance in one.hypotheses] == [chance for _, chance in own.hypotheses] != []
        assert all((a == b).all() for (a, _), (b, _) in zip(one.hypotheses, own.hypotheses, strict=True))


def test_an_order_that_contradicts_itself_is_refused() -> None:
    pipeline = ShapePriorPipeline.from_model(tiny_model())
    visible = np.zeros((2, 20, 40), bool)
    visible[0, 5:15, 5:15] = visible[1, 5:15, 18:30] = True
    image = np.zeros((20, 40, 3), np.uint8)
    for order in ({"in_front": [(0, 1), (1, 0)]}, {"in_front": [(1, 0)], "depth_order": [0, 1]}):
        with pytest.raises(UsageError, match="are said to be in front of each other"):
            pipeline.complete(image, list(visible), ["chair", "table"], **order)


STORED = "visible[0]: {}; the image's EXIF orientation 6 is applied; give {} for stored pixels"
SIDEWAYS = "expected [80, 60] bool like the image, got [60, 80] bool"


def turned(tag: int, mode: str = "RGB") -> Image.Image:
    """A PIL image of 60 x 80 stored pixels with an EXIF orientation."""
    image = Image.fromarray(picture()).convert(mode)
    image.getexif()[0x0112] = tag
    return image


def test_masks_on_stored_pixels_do_not_fit_an_image_that_exif_turns(pipeline: ShapePriorPipeline) -> None:
    def error(image: object, mask: object) -> str:
        with pytest.raises(UsageError) as caught:
            pipeline.complete(image, [mask], ["chair"])
        return str(caught.value)

    assert error(turned(6), CHAIR) == STORED.format(SIDEWAYS, "numpy.asarray(image)")
    assert error(turned(6, "CMYK"), CHAIR) == STORED.format(SIDEWAYS, "numpy.asarray(image.convert('RGB'))")
    for mask in (encode(CHAIR), encode(CHAIR).to_coco()):
        assert "; the image's EXIF orientation 6 is applied; give numpy.asarray(image)" in error(turned(6), mask)
    assert error(turned(3), CHAIR.T) == "visible[0]: expected [60, 80] bool like the image, got [80, 60] bool"
    for image, mask in ((turned(6), CHAIR[1:]), (turned(1), CHAIR.T), (picture(), CHAIR.T)):
        assert "EXIF" not in error(image, mask)
    upright = pipeline.complete(np.asarray(turned(6)), [CHAIR], ["chair"])
    assert (upright[0].visible == CHAIR).all()


def test_the_same_for_the_path_of_an_image(pipeline: ShapePriorPipeline, tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(exif_files.png(picture(), exif_files.chunk(b"eXIf", exif_files.exif(6))))
    with pytest.raises(UsageError) as caught:
        pipeline.complete(path, [CHAIR], ["chair"])
    remedy = "shape3d_amodal.files.safe_io.read_image(path, orientation='stored')"
    assert str(caught.value) == STORED.format(SIDEWAYS, remedy)
    pipeline.complete(read_image(path, orientation="stored"), [CHAIR], ["chair"])


def test_objects_of_several_images_are_completed_together_as_each_alone(pipeline: ShapePriorPipeline) -> None:
    """Images of two sizes, one with nothing to complete in their middle."""
    wide = rectangle(slice(5, 30), slice(40, 90), (40, 120))
    given = [
        (picture(), [CHAIR, TABLE], ["chair", "table"]),
        (picture(), [TABLE], [OCCLUDER]),
        (picture(40, 120), [wide, ~wide], ["lamp", OCCLUDER]),
    ]
    together = pipeline.complete_cut([pipeline.cut(*one) for one in given])
    assert [len(one) for one in together] == [2, 0, 1]
    for objects, one in zip(together, given, strict=True):
        for found, alone in zip(objects, pipeline.complete(*one), strict=True):
            assert (found.amodal == alone.amodal).all() and (found.silhouette == alone.silhouette).all()
            assert found.score == pytest.approx(alone.score, abs=1e-5) and found.category == alone.category
            assert np.allclose(found.verts, alone.verts, atol=1e-4)


def test_the_refinement_is_asked_only_of_what_may_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is in front; a lamp stands apart; the chair alone may go on behind something."""
    pipeline = ShapePriorPipeline.from_model(tiny_model())
    assert pipeline.model is not None
    asked: list[list[int]] = []
    refine = pipeline.model.refine_both_ways

    def noted(crops, shown):
        asked.append(crops.category.tolist())
        return refine(crops, shown)

    monkeypatch.setattr(pipeline.model, "refine_both_ways", noted)
    lamp = rectangle(slice(2, 6), slice(70, 78))
    found = pipeline.complete(picture(), [CHAIR, TABLE, lamp], ["chair", "table", "lamp"], in_front=[(1, 0)])
    assert [[pipeline.categories[number] for number in numbers] for numbers in asked] == [["chair"]]
    assert (found[1].amodal == TABLE).all() and (found[2].amodal == lamp).all()


@pytest.mark.parametrize(("border", "hides"), [("unknown", 1.0), ("background", 0.0)])
def test_what_lies_beyond_the_image_is_what_the_weights_say(border: str, hides: float) -> None:
    """Beside an object at the left border of the image; inside of the image nothing hides it."""
    pipeline = ShapePriorPipeline.from_model(AmodalModel(replace(tiny_config(), border=border)).eval())
    crops, _ = pipeline.crops(picture(), seen([rectangle(slice(20, 40), slice(0, 30))], ["chair"]))
    left, _, right, _ = crops.window[0].tolist()
    x = left + (right - left) * (torch.arange(crops.size) + 0.5) / crops.size
    pixel = (right - left) / crops.size
    assert (x < -pixel).any()
    assert (crops.occluder[0][:, x < -pixel] == hides).all() and not crops.occluder[0][:, x > pixel].any()
