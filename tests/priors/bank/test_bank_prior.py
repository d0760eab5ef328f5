"""The bank as a prior: right masks in crops, shapes deformed where they must be and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from boxes import ARMCHAIR, PARTS, BoxMeshes, box_mesh
from pinhole import View, iou, view
from scipy.spatial.transform import Rotation

from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.crops.pixels import PixelWindow, pixel_window
from shape3d_amodal.geometry.windows import paste
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.priors.bank import prior as prior_module
from shape3d_amodal.priors.bank.finding import FindConfig
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.structures import Estimate, InstanceCrops

BANK = ShapeBank(BoxMeshes())
NAMES = BANK.categories
SEARCH = FindConfig(placed=32, more=32, jumps=16, kept=6, evolved=2, generations=15)
S = 96
WIDE_DRESSER = box_mesh([((-0.8, 0.0, -0.3), (0.8, 1.0, 0.3))], category="dresser")
"""A third lower than the bank's dresser, for its width."""


class Scene:
    """An object whose right part is hidden, as a crop and as a window of the image's pixels."""

    def __init__(self, mesh: Mesh, seen: View, hidden: float = 0.35, *, camera_known: bool = False) -> None:
        self.seen, self.truth = seen, seen.mask(mesh)
        columns = np.nonzero(self.truth.any(axis=0))[0]
        self.bar = np.zeros_like(self.truth)
        self.bar[:, columns[-1] + 1 - round(hidden * len(columns)) :] = hidden > 0
        self.visible = self.truth & ~self.bar
        picture = np.zeros((*self.truth.shape, 3), np.uint8)
        self.crop = instance_crops(picture, [self.visible], [self.bar], [NAMES.index(mesh.category)], S)
        camera = seen.camera if camera_known else None
        self.window: PixelWindow = pixel_window(self.visible, self.bar, self.crop.window[0].numpy(), camera)

    def estimate(self, **changes: object) -> Estimate:
        prior = BankPrior(BANK, config=BankPriorConfig(**{"search": SEARCH, **changes}))
        return prior.estimate(self.crop, windows=[self.window])

    def mask(self, estimate: Estimate) -> np.ndarray:
        return paste(estimate.silhouette[0], self.crop.window[0], *self.truth.shape).numpy() > 0.5


def dresser(**changes: float) -> Scene:
    return Scene(box_mesh(PARTS["dresser/box"], category="dresser"), view(35, 20, pixels=70), **changes)


@pytest.fixture(scope="module")
def chair() -> Scene:
    return Scene(box_mesh(ARMCHAIR), view(-50, 18, distance=3, pixels=80), camera_known=True)


@pytest.fixture(scope="module")
def strange() -> Scene:
    """A dresser that the bank does not hold like this, hardly hidden."""
    return Scene(WIDE_DRESSER, view(40, 20, pixels=80), 0.15)


def deformations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of steps of the fits that follow."""
    steps = []
    optimize = prior_module.optimize
    counted = lambda subject, crops, **how: steps.append(how["steps"]) or optimize(subject, crops, **how)  # noqa: E731
    monkeypatch.setattr(prior_module, "optimize", counted)
    return steps


@pytest.mark.parametrize("camera_known", [False, True])
def test_a_known_shape_is_completed_at_the_images_resolution(camera_known: bool) -> None:
    scene = dresser(camera_known=camera_known)
    found = scene.estimate()
    assert iou(scene.mask(found), scene.truth) > 0.9
    assert found.fit.item() > 0.94 and 0 < found.expected.item() < 1
    torch.testing.assert_close(found.fit, certain_iou(found.silhouette, scene.crop))


def test_intrinsics_change_nothing_for_the_right_answer(chair: Scene) -> None:
    """With them, and without them as the likely distance is the right one, the mask is the true one."""
    known = chair.mask(chair.estimate())
    unknown = Scene(box_mesh(ARMCHAIR), chair.seen)
    guessed = unknown.mask(unknown.estimate())
    assert min(iou(known, chair.truth), iou(guessed, chair.truth)) > 0.93
    assert iou(known, guessed) > 0.93


def test_the_pose_is_that_of_the_camera_that_was_given(chair: Scene) -> None:
    """Rotation and translation, in units of the mesh's file; without a camera there is none."""
    (pose,) = chair.estimate().pose.numpy()
    turn = pose[:9].reshape(3, 3) @ chair.seen.rotation.T
    assert np.degrees(Rotation.from_matrix(turn).magnitude()) < 3
    np.testing.assert_allclose(pose[9:], chair.seen.translation, atol=0.15)
    assert Scene(box_mesh(ARMCHAIR), chair.seen).estimate().pose.isnan().all()


def test_known_shapes_are_never_deformed(chair: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = deformations(monkeypatch)
    chair.estimate(fit_steps=3)
    assert steps == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, [4]), ({"exact": True}, []), ({"fit_steps": 0}, []), ({"fit_below": 0.2}, []), ({"fit_below": 1.0}, [4])],
)
def test_what_no_known_shape_explains_is_fitted_unless_they_are_exact(
    strange: Scene, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], expected: list[int]
) -> None:
    steps = deformations(monkeypatch)
    found = strange.estimate(**{"fit_steps": 4, "fit_below": 0.96, **changes})
    assert steps == expected
    if not expected:
        sides = np.ptp(found.verts[0].numpy(), axis=0)
        known = np.ptp(box_mesh(PARTS["dresser/box"]).verts, axis=0)
        np.testing.assert_allclose(sides, known, atol=1e-5)


def test_a_deformed_shape_explains_more_than_any_known_one(strange: Scene) -> None:
    rigid = strange.estimate(exact=True)
    fitted = strange.estimate(fit_below=0.99, fit_steps=20)
    assert fitted.fit.item() > rigid.fit.item() + 0.01
    assert iou(strange.mask(fitted), strange.truth) > iou(strange.mask(rigid), strange.truth)
    torch.testing.assert_close(fitted.fit, certain_iou(fitted.silhouette, strange.crop))
    assert not fitted.silhouette.requires_grad and not fitted.verts.requires_grad


def test_what_is_said_of_a_deformed_shape_is_said_of_its_own_mask(strange: Scene) -> None:
    """Score and answers: from its own silhouettes, whose mean is the mask."""
    asked = {"fit_below": 0.99, "fit_steps": 20, "hypotheses": 4}
    fitted, rigid = strange.estimate(**asked), strange.estimate(exact=True, hypotheses=4)
    assert fitted.expected != rigid.expected
    assert not torch.equal(fitted.hypotheses, rigid.hypotheses)
    mean = (fitted.chance[0, :, None, None] * fitted.hypotheses[0]).sum(dim=0)
    torch.testing.assert_close(mean, fitted.silhouette[0], rtol=0, atol=1e-4)
    assert fitted.chance.sum().item() == pytest.approx(1, abs=1e-5) and (fitted.chance[0].diff() <= 1e-7).all()


def test_signs_of_a_deformed_shape(strange: Scene) -> None:
    """Agreement and visible share by hand, from its answers: all pixels of the crop that the bar may hide."""
    prior = BankPrior(BANK, config=BankPriorConfig(search=SEARCH, fit_steps=8, hypotheses=4))
    found = prior.find(BANK.shapes("dresser", "upright"), strange.window, frozenset())
    bent, told = prior.bent(found, strange.crop)
    visible, bar = strange.crop.visible[0].numpy() > 0.5, strange.crop.occluder[0].numpy() > 0.5
    chance, answers = bent.chance[0].numpy(), bent.hypotheses[0].numpy()
    mean = visible | ((bent.silhouette[0].numpy() > 0.5) & bar)
    wholes = [visible | ((answer > 0.5) & bar) for answer in answers]
    agreement = sum(share * iou(whole, mean) for share, whole in zip(chance, wholes, strict=True))
    shares = np.array([bent.fit.item(), agreement, visible.sum() / mean.sum()]).clip(1e-3, 1 - 1e-3)
    score, agreed, seen = np.log(shares / (1 - shares))
    np.testing.assert_allclose(told, [1, score, agreed, seen, score * seen], rtol=1e-3, atol=1e-3)


def test_signs_of_a_deformed_shape_that_the_border_cuts(strange: Scene) -> None:
    """Nothing hides it in the image: all of its mask there is seen, and all answers agree, whatever lies beyond."""
    prior = BankPrior(BANK, config=BankPriorConfig(search=SEARCH, fit_steps=4))
    end = int(np.nonzero(strange.truth.any(axis=0))[0].mean())
    visible = strange.truth[:, :end]
    nothing = np.zeros_like(visible)
    crop = instance_crops(np.zeros((*visible.shape, 3), np.uint8), [visible], [nothing], [NAMES.index("dresser")], S)
    window = pixel_window(visible, nothing, crop.window[0].numpy())
    _, told = prior.bent(prior.find(BANK.shapes("dresser", "upright"), window, frozenset()), crop)
    most = np.log(0.999 / 0.001)
    assert told[2:4] == pytest.approx([most, most], abs=1e-3)


def test_where_all_meshes_are_left_out_there_is_no_estimate(chair: Scene) -> None:
    prior = BankPrior(BANK, config=BankPriorConfig(search=SEARCH, hypotheses=2))
    names = BANK.shapes("chair", "upright").names
    crops = InstanceCrops.join([chair.crop, chair.crop])
    found = prior.estimate(crops, windows=[chair.window] * 2, without=[names, ()])
    assert found.model[0] == -1 and found.fit[0] == found.expected[0] == 0 and found.pose[0].isnan().all()
    assert not (found.silhouette[0].any() or found.hypotheses[0].any() or found.chance[0].any())
    (alone,) = [prior.estimate(chair.crop, windows=[chair.window])]
    assert torch.equal(found.silhouette[1:], alone.silhouette) and torch.equal(found.chance[1:], alone.chance)


def test_where_the_fit_explains_less_the_estimate_is_that_before_it(
    strange: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silhouette, mesh and viewpoint are then all of them those before the fit."""
    monkeypatch.setattr(prior_module, "optimize", lambda *_, **__: torch.zeros(4))
    monkeypatch.setattr(prior_module.DeformedMeshes, "silhouettes", lambda self, _: torch.zeros(len(self.faces), S, S))
    rigid, fitted = strange.estimate(exact=True), strange.estimate(fit_below=1.0)
    for name in ("silhouette", "verts", "faces", "fit"):
        assert torch.equal(getattr(rigid, name), getattr(fitted, name))
    assert rigid.viewpoint == fitted.viewpoint


def test_crops_alone_stand_for_the_image(chair: Scene) -> None:
    """Without windows the crops' own pixels are looked at: nearly the same mask."""
    prior = BankPrior(BANK, config=BankPriorConfig(search=SEARCH))
    found = prior.estimate(chair.crop)
    assert found.silhouette.shape == (1, S, S)
    assert iou(chair.mask(found), chair.truth) > 0.85
    assert found.pose.isnan().all()


def test_objects_are_each_for_themselves(chair: Scene, strange: Scene) -> None:
    """Meshes of fewer vertices are padded; nothing else depends on what else is asked about."""
    prior = BankPrior(BANK, config=BankPriorConfig(search=SEARCH, fit_steps=2, hypotheses=3))
    together = prior.estimate(InstanceCrops.join([chair.crop, strange.crop]), windows=[chair.window, strange.window])
    for i, scene in enumerate((chair, strange)):
        (alone,) = [prior.estimate(scene.crop, windows=[scene.window])]
        for name in ("silhouette", "fit", "expected", "hypotheses", "chance"):
            torch.testing.assert_close(getattr(together, name)[i : i + 1], getattr(alone, name), rtol=0, atol=1e-6)
        count = alone.verts.shape[1]
        torch.testing.assert_close(together.verts[i, :count], alone.verts[0])
        assert not together.verts[i, count:].any()


def test_meshes_that_are_left_out(chair: Scene) -> None:
    prior = BankPrior(BANK, config=BankPriorConfig(search=SEARCH, exact=True))
    whole = prior.estimate(chair.crop, windows=[chair.window])
    without = prior.estimate(chair.crop, windows=[chair.window], without=[["chair/one_arm"]])
    known = {name: len(box_mesh(PARTS[name]).verts) for name in ("chair/one_arm", "chair/four_legs")}
    assert whole.verts.shape[1] == known["chair/one_arm"]
    assert without.verts.shape[1] == known["chair/four_legs"] and without.fit < whole.fit


@pytest.mark.parametrize("count", [0, 2, 40])
def test_likely_answers_are_given_beside_the_mask(count: int) -> None:
    """The likeliest first, empty behind the last; the silhouette is their mean where all of them are given."""
    scene = dresser(hidden=0.6)
    found = scene.estimate(hypotheses=count, exact=True)
    if count == 0:
        assert found.hypotheses is None and found.chance is None
        return
    assert found.hypotheses.shape == (1, count, S, S) and found.chance.shape == (1, count)
    chance = found.chance[0]
    assert (chance.diff() <= 1e-7).all() and 0 < chance.sum() <= 1 + 1e-5
    assert not found.hypotheses[0, chance == 0].any()
    if count == 40:
        assert chance.sum().item() == pytest.approx(1, abs=1e-5)
        mean = (chance[:, None, None] * found.hypotheses[0]).sum(dim=0)
        torch.testing.assert_close(mean, found.silhouette[0], rtol=0, atol=1e-4)


def test_the_mesh_and_the_viewpoint_draw_the_silhouette(chair: Scene) -> None:
    """But for the perspective of a near camera, which a viewpoint does not know."""
    from shape3d_amodal.geometry.cameras import project
    from shape3d_amodal.rendering.zbuffer import rasterize

    found = chair.estimate(exact=True)
    screen = project(found.verts, found.viewpoint)[0].numpy()
    screen[:, :2] = (1 - screen[:, :2]) * S / 2
    drawn = rasterize(screen, found.faces[0].int().numpy(), S, S)[1] >= 0
    assert iou(drawn, found.silhouette[0].numpy() > 0.5) > 0.95


def test_known_categories_and_steps() -> None:
    other = BankPrior(BANK, ("car", "chair"), BankPriorConfig(fit_steps=7, search=SEARCH))
    assert other.categories == ("car", "chair") and other.known == ("chair",)
    assert BankPrior(BANK).known == BankPrior(BANK).categories == NAMES
    changed = other.with_fit_steps(2)
    assert changed.config == replace(other.config, fit_steps=2) and changed.categories == other.categories
    assert other.parameters == changed.parameters == 0
