"""What is run, what is not run again, and that neither processes nor kills change a table."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes import CHAIR, box_mesh, write_obj
from counted import CountedOptions
from drawn_data import SIDE, benchmark, draw_data, write_config
from tiny import tiny_model

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import read_results, write_results
from shape3d_amodal.benchmarking import provenance
from shape3d_amodal.benchmarking.methods import KINDS, BankOptions
from shape3d_amodal.benchmarking.runner import run_benchmark
from shape3d_amodal.errors import AmodalError, DataError, MissingBackendError, UsageError, WeightsError
from shape3d_amodal.meshes.parsers import read_mesh_file
from shape3d_amodal.methods.completion import complete_image
from shape3d_amodal.methods.ground_truth import shown, without_order
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.bank.prior import BankPrior
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Pose

SIX = [1, 2, 3, 4, 5, 6]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(KINDS, "counted", CountedOptions)
    draw_data(tmp_path / "drawn")
    return tmp_path / "drawn"


def asked(log: Path) -> list[int]:
    return [int(line.split()[0]) for line in log.read_text().splitlines()]


def counted(folder: Path, **options: object) -> dict[str, object]:
    return {"counted": {"kind": "counted", "log": str(folder / "log"), **options}}


def test_scores_are_those_of_the_drawing(folder, tmp_path):
    (scores,) = run_benchmark(benchmark(folder), tmp_path / "out")
    # IoUs of the visible masks: 0.95, 0.90 ... 0.70; chairs are the pictures 0, 2, 4.
    by_category = scores.tables["visible"].by_category()
    assert by_category["chair"]["miou"] == pytest.approx((0.95 + 0.85 + 0.75) / 3)
    assert by_category["car"]["miou"] == pytest.approx((0.90 + 0.80 + 0.70) / 3)
    assert scores.tables["hull"].score["miou"] > scores.tables["visible"].score["miou"]
    record = scores.methods["visible"].record
    assert record is not None and record.seconds is not None and 0 < record.seconds < 1
    assert (record.parameters, record.instances, record.threads, record.processes) == (0, 12, 1, 1)


def test_nothing_is_run_twice(folder, tmp_path):
    for _ in range(2):
        run_benchmark(benchmark(folder, methods=counted(folder)), tmp_path / "out")
    assert asked(folder / "log") == SIX


def test_what_changed_is_run_again(folder, tmp_path, monkeypatch):
    weights = folder / "weights"
    weights.write_text("1")
    config = {"methods": counted(folder, weights=str(weights))}

    def times() -> int:
        run_benchmark(benchmark(folder, **config), tmp_path / "out")
        return len(asked(folder / "log")) // 6

    assert times() == 1
    config["methods"]["counted"]["note"] = "another word about it"
    config["methods"]["counted"]["trained"] = "another word about that"
    assert times() == 1
    config["methods"]["counted"]["depth_order"] = True
    assert times() == 2
    weights.write_text("2")
    assert times() == 3
    picture = folder / "images" / "3.png"
    picture.write_bytes((folder / "images" / "4.png").read_bytes())
    assert times() == 4
    monkeypatch.setattr(provenance, "methods_hash", lambda: "other code")
    assert times() == 5
    monkeypatch.setattr(provenance, "versions", lambda: "another torch")
    assert times() == 6
    (tmp_path / "out" / "results" / "squares-masks" / "counted.json").write_text("[]")
    assert times() == 7


def test_a_method_is_built_anew_from_new_weights_in_the_same_process(folder, tmp_path):
    weights = folder / "weights"
    config = benchmark(folder, methods=counted(folder, weights=str(weights)))
    for number in (1, 2):
        weights.write_text(str(number))
        (scores,) = run_benchmark(config, tmp_path / "out")
        assert scores.methods["counted"].parameters == number


def test_depth_order_is_told_to_those_who_ask(folder, tmp_path):
    for name, options, orders in (("a", {}, "['None']"), ("b", {"depth_order": True}, "['0', '1']")):
        run_benchmark(benchmark(folder, methods=counted(folder, **options)), tmp_path / name)
        lines = (folder / "log").read_text().splitlines()
        assert all(orders in line for line in lines)
        (folder / "log").unlink()


def start(config: Path, out: Path, *, processes: int) -> subprocess.Popen[bytes]:
    """A benchmark in a process, and a process group, of its own."""
    code = (
        "import sys; from pathlib import Path; from counted import CountedOptions\n"
        "from shape3d_amodal.benchmarking.methods import KINDS; KINDS['counted'] = CountedOptions\n"
        "from shape3d_amodal.benchmarking.config import load_benchmark\n"
        "from shape3d_amodal.benchmarking.runner import run_benchmark\n"
        "if __name__ == '__main__':\n"
        "    run_benchmark(load_benchmark(Path(sys.argv[1])), Path(sys.argv[2]), processes=int(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", code, str(config), str(out), str(processes)]
    here = Path(__file__).resolve().parents[1]
    environment = {"PYTHONPATH": f"{here / 'helpers'}:{here.parent}", "PATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.parametrize("at", [4, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 6))])
def test_a_killed_run_goes_on_where_it_stood(folder, tmp_path, at):
    """Killed as by a machine that loses its power, while the picture ``at`` is worked on."""
    path = write_config(folder, methods=counted(folder, die_at=at))
    assert start(path, tmp_path / "out", processes=1).wait() == -9
    assert not (tmp_path / "out" / "results" / "squares-masks" / "counted.json").exists()
    run_benchmark(benchmark(folder, methods=counted(folder, die_at=at)), tmp_path / "out")
    run_benchmark(benchmark(folder, methods=counted(folder, die_at=0)), tmp_path / "straight")
    killed, straight = (
        read_results(tmp_path / name / "results/squares-masks/counted.json") for name in ("out", "straight")
    )
    assert killed == straight
    assert asked(folder / "log") == SIX + SIX


@pytest.mark.slow
def test_an_interrupt_from_the_keyboard_does_not_wait_for_workers(tmp_path):
    folder = tmp_path / "drawn"
    draw_data(folder, images=9)  # more than two workers begin with
    running = start(write_config(folder, methods=counted(folder, seconds=20)), tmp_path / "out", processes=2)
    while not (folder / "log").exists() or len(asked(folder / "log")) < 2:  # both workers work
        assert running.poll() is None
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(timeout=10) != 0


@pytest.mark.slow
def test_results_do_not_depend_on_the_processes(folder, tmp_path):
    for processes in (1, 2, 3):
        run_benchmark(benchmark(folder), tmp_path / str(processes), processes=processes)
    for name in ("visible.json", "hull.json"):
        contents = {(tmp_path / str(n) / "results/squares-masks" / name).read_bytes() for n in (1, 2, 3)}
        assert len(contents) == 1


@pytest.mark.slow
def test_a_dead_worker_is_one_clear_line_and_loses_little(folder, tmp_path):
    methods = counted(folder, die_at=6)
    with pytest.raises(AmodalError, match="a worker process died"):
        run_benchmark(benchmark(folder, methods=methods), tmp_path / "out", processes=2)
    (scores,) = run_benchmark(benchmark(folder, methods=methods), tmp_path / "out")
    assert len(scores.methods["counted"].results) == 12
    assert sorted(set(asked(folder / "log"))) == SIX


def test_results_of_others_take_part(folder, tmp_path):
    run_benchmark(benchmark(folder), tmp_path / "out")
    theirs = tmp_path / "theirs.json"
    write_results(theirs, read_results(tmp_path / "out/results/squares-masks/hull.json"))
    methods = {
        "visible": {"kind": "visible_only"},
        "peer": {"kind": "results", "file": {"squares": str(theirs)}, "seconds": 0.5, "parameters": 1000},
    }
    (scores,) = run_benchmark(benchmark(folder, methods=methods), tmp_path / "second")
    (own,) = run_benchmark(benchmark(folder), tmp_path / "out")
    assert scores.tables["peer"].score == own.tables["hull"].score
    peer = scores.methods["peer"]
    assert (peer.record, peer.seconds, peer.parameters) == (None, 0.5, 1000)


@pytest.mark.parametrize(
    ("methods", "error", "message"),
    [
        ({"p": {"kind": "results", "file": {}}}, UsageError, "methods.p.file: expected a results file for"),
        ({"p": {"kind": "results", "file": {"squares": "no.json"}}}, DataError, "no.json: no such results file"),
        ({"p": {"kind": "pipeline", "weights": "none"}}, WeightsError, "none: no such folder of weights, .*open13"),
    ],
)  # fmt: skip
def test_what_is_missing_is_found_before_anything_is_run(folder, tmp_path, methods, error, message):
    with pytest.raises(error, match=message):
        run_benchmark(benchmark(folder, methods={**counted(folder), **methods}), tmp_path / "out")
    assert not (folder / "log").exists()


def test_what_a_method_cannot_take_is_found_before_anything_is_run(folder, box_folder, tmp_path):
    methods = {**counted(folder), "bank": {"kind": "bank", "meshes": str(box_folder)}}
    unknown = r"^bank on squares: unknown category 'car' .did you mean 'chair'.*; known are chair, "
    with pytest.raises(UsageError, match=unknown):
        run_benchmark(benchmark(folder, methods=methods), tmp_path / "out")
    assert not (folder / "log").exists()


def test_a_peer_must_answer_all_that_can_be_asked(folder, tmp_path):
    run_benchmark(benchmark(folder), tmp_path / "out")
    results = read_results(tmp_path / "out/results/squares-masks/hull.json")
    write_results(tmp_path / "peer.json", [one for one in results if one.annotation_id not in (11, 12)])
    peer = {"kind": "results", "file": {"squares": str(tmp_path / "peer.json")}}
    with pytest.raises(
        DataError, match=r"peer.json: expected a result for each of 6 annotations, 2 have none \(id 11, "
    ):
        run_benchmark(benchmark(folder, methods={"peer": peer}), tmp_path / "out")
    allowed = benchmark(folder, methods={"peer": {**peer, "allow_missing": True}})
    (scores,) = run_benchmark(allowed, tmp_path / "out")
    assert scores.tables["peer"].score.counts["missing"] == 2


def test_a_peers_mistake_names_their_file(folder, tmp_path):
    run_benchmark(benchmark(folder), tmp_path / "out")
    results = read_results(tmp_path / "out/results/squares-masks/hull.json")
    write_results(tmp_path / "twice.json", [*results, results[0]])
    methods = {"peer": {"kind": "results", "file": {"squares": str(tmp_path / "twice.json")}}}
    with pytest.raises(DataError, match=r"twice.json: \[12\].annotation_id: annotation id 10 came before"):
        run_benchmark(benchmark(folder, methods=methods), tmp_path / "out")


def test_unknown_categories_name_the_method(folder, tmp_path):
    text = (folder / "annotations.json").read_text().replace('"car"', '"robot"')
    (folder / "annotations.json").write_text(text)
    with pytest.raises(UsageError, match=r"ours on squares: unknown category 'robot'; .*airplane"):
        run_benchmark(benchmark(folder, methods={"ours": {"kind": "pipeline"}}), tmp_path / "out")


def test_two_benchmarks_do_not_share_a_folder(folder, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process works in this folder"):
            run_benchmark(benchmark(folder), tmp_path / "out")
    run_benchmark(benchmark(folder), tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_one_line(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: cannot make the folder \(File exists\); choose another"):
        run_benchmark(benchmark(folder), tmp_path / "file")


def test_made_scenes_are_kept_until_their_configuration_changes(tmp_path):
    (tmp_path / "scenes.yaml").write_text("meshes: open13:test\nscenes: {image_size: 64}\nper_category: 1\n")

    def changed(*options: str) -> float:
        data = {"scenes": {"scenes": str(tmp_path / "scenes.yaml"), "set": list(options)}}
        methods = {"visible": {"kind": "visible_only"}}
        run_benchmark(benchmark(tmp_path, data=data, methods=methods, runs=[{"data": "scenes"}]), tmp_path / "out")
        return (tmp_path / "out" / "data" / "scenes" / "annotations.json").stat().st_mtime_ns

    first = changed()
    assert changed() == first
    assert changed("seed=1") != first


def test_what_nobody_sees_is_not_shown_but_missed(folder, tmp_path):
    content = json.loads((folder / "annotations.json").read_text())
    hidden = next(one for one in content["annotations"] if one["id"] == 11)
    hidden["visible_mask"] = masks.encode(np.zeros((SIDE, SIDE), bool)).to_coco()
    (folder / "annotations.json").write_text(json.dumps(content))
    (scores,) = run_benchmark(benchmark(folder), tmp_path / "out")
    assert len(scores.methods["visible"].results) == 11
    score = scores.tables["visible"].score
    assert (score.counts["instances"], score.counts["missing"]) == (6, 1)
    assert scores.tables["visible"].by_category()["car"]["miou"] == pytest.approx((0 + 0.80 + 0.70) / 3)


def test_tracks_that_are_given_the_same_share_their_results(folder, tmp_path):
    content = json.loads((folder / "annotations.json").read_text())
    for one in content["annotations"]:  # the bars become objects, so that pairs have an order
        one["ignore"], one["segmentation"] = 0, one.get("segmentation", one["visible_mask"])
    (folder / "annotations.json").write_text(json.dumps(content))
    runs = [{"data": "squares"}, {"data": "squares", "track": "order"}]
    completion, order = run_benchmark(benchmark(folder, methods=counted(folder), runs=runs), tmp_path / "out")
    assert asked(folder / "log") == SIX
    assert "miou" in completion.tables["counted"].score.values
    assert "order_accuracy" in order.tables["counted"].score.values


def test_meshes_are_written_where_a_track_looks_at_them(tmp_path):
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(tmp_path / "weights")
    (tmp_path / "scenes.yaml").write_text("meshes: open13:test\nscenes: {image_size: 64}\nper_category: 1\n")
    config = {
        "data": {"scenes": {"scenes": str(tmp_path / "scenes.yaml")}},
        "methods": {
            "tiny": {"kind": "pipeline", "weights": str(tmp_path / "weights")},
            "hull": {"kind": "convex_hull"},
            "bare": {"kind": "pipeline", "weights": str(tmp_path / "weights"), "refine": "none"},
        },
    }
    plain = benchmark(tmp_path, **config, runs=[{"data": "scenes"}])
    folder = tmp_path / "out" / "results" / "scenes-masks"
    run_benchmark(plain, tmp_path / "out")
    assert not (folder / "tiny-meshes").exists()
    runs = [{"data": "scenes"}, {"data": "scenes", "track": "shape", "methods": ["tiny", "hull"]}]
    begun = (folder / "bare.run.json").stat().st_mtime_ns
    _, shape = run_benchmark(benchmark(tmp_path, **config, runs=runs), tmp_path / "out")
    assert not (folder / "bare-meshes").exists() and (folder / "bare.run.json").stat().st_mtime_ns == begun
    results = {one.annotation_id: one for one in shape.methods["tiny"].results}
    assert {f"tiny-meshes/{path.name}" for path in (folder / "tiny-meshes").iterdir()} == {
        one.mesh for one in results.values()
    }
    # An untrained mesh is a ball-like thing, which has some volume in common with anything.
    assert shape.tables["tiny"].score["voxel_iou"] > 0.05 > shape.tables["hull"].score["voxel_iou"] == 0
    # The mesh of a file is the pipeline's, to the digits that are written.
    image = shape.data.dataset.images[0]
    picture = shape.data.files.read(image)
    pipeline = ShapePriorPipeline.from_pretrained(str(tmp_path / "weights"))
    instance, one = complete_image(pipeline, picture, without_order(image), shape.data.dataset.category_names)[0]
    mesh = read_mesh_file(folder / str(results[instance.id].mesh))
    np.testing.assert_allclose(mesh.verts, one.verts, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, one.faces)
    shutil.rmtree(folder / "tiny-meshes")
    _, again = run_benchmark(benchmark(tmp_path, **config, runs=runs), tmp_path / "out")
    assert again.tables["tiny"].score == shape.tables["tiny"].score


def test_a_bank_depends_on_its_meshes(box_folder, tmp_path):
    own = tmp_path / "meshes"
    shutil.copytree(box_folder, own)
    before = BankOptions(meshes=str(own)).inputs()
    assert BankOptions(meshes=str(own)).inputs() == before
    write_obj(own / "chair" / "four_legs.obj", box_mesh(CHAIR[:3]))
    assert BankOptions(meshes=str(own)).inputs() != before
    with pytest.raises(DataError):
        BankOptions(meshes=str(tmp_path / "none")).inputs()


def test_a_bank_is_fitted_where_steps_are_asked_for(box_folder, monkeypatch):
    steps = []
    estimate = BankPrior.estimate
    monkeypatch.setattr(
        BankPrior,
        "estimate",
        lambda self, crops, **more: steps.append(self.config.fit_steps) or estimate(self, crops, **more),
    )
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:24, 8:24] = True
    square = AmodalInstance(id=1, category_id=1, visible=masks.encode(mask))
    record = AmodalImage(id=1, file_name="a", width=SIDE, height=SIDE, instances=(square,))
    for asked_for in (0, 2):
        method = BankOptions(meshes=str(box_folder), fit_steps=asked_for).build({1: "chair"}, "cpu")
        method.complete(np.zeros((SIDE, SIDE, 3), np.uint8), record)
    assert steps == [0, 2]


def test_answers_with_a_chance_are_no_objects_of_their_own(folder, box_folder, tmp_path):
    """The same results are scored in both tracks, and counted once for each object."""
    bank = {"kind": "bank", "meshes": str(box_folder), "fit_steps": 0, "hypotheses": 3, "taken_for": {"car": "dresser"}}
    runs = [{"data": "squares"}, {"data": "squares", "track": "multimodal"}]
    completion, multimodal = run_benchmark(benchmark(folder, methods={"bank": bank}, runs=runs), tmp_path / "out")
    record = completion.methods["bank"].record
    assert record is not None and record.instances == 12 < len(completion.methods["bank"].results)
    assert completion.tables["bank"].score.counts["missing"] == 0
    assert 6 <= multimodal.tables["bank"].score.counts["samples"] <= 18


@pytest.mark.slow
def test_a_bank_takes_part_without_weights(box_folder, tmp_path):
    (tmp_path / "scenes.yaml").write_text(f"meshes: {box_folder}\nscenes: {{image_size: 96}}\nper_category: 2\n")
    data = {"scenes": {"scenes": str(tmp_path / "scenes.yaml")}}
    methods = {"visible": {"kind": "visible_only"}, "bank": {"kind": "bank", "meshes": str(box_folder)}}
    config = benchmark(tmp_path, data=data, methods=methods, runs=[{"data": "scenes"}])
    (scores,) = run_benchmark(config, tmp_path / "out")
    # It knows the very shapes.
    assert scores.tables["bank"].score["miou"] > scores.tables["visible"].score["miou"] + 0.05
    assert scores.methods["bank"].parameters == 0


def test_the_instance_track_shows_the_image_alone(folder, tmp_path):
    (scores,) = run_benchmark(benchmark(folder), tmp_path / "out")
    image = scores.data.dataset.images[0]
    image = replace(
        image, depth_constraint=((100, 10),), instances=tuple(replace(o, cluster=3) for o in image.instances)
    )
    alone = shown(image, "image", depth_order=True)
    assert (alone.instances, alone.depth_constraint) == ((), ())
    seen = shown(image, "masks", depth_order=False)
    assert [one.id for one in seen.instances] == [10, 100]
    assert {(one.amodal, one.depth_order, one.cluster) for one in seen.instances} == {(None, None, None)}
    assert seen.depth_constraint == ()
    ordered = shown(image, "masks", depth_order=True)
    assert {one.cluster for one in ordered.instances} == {3} and ordered.depth_constraint == ((100, 10),)


def test_what_is_not_seen_is_not_shown():
    seen = AmodalInstance(id=1, category_id=1, visible=masks.encode(np.eye(4, dtype=bool)))
    hidden = replace(seen, id=2, visible=masks.empty(4, 4))
    image = AmodalImage(id=1, file_name="a", width=4, height=4, instances=(seen, hidden), depth_constraint=((1, 2),))
    assert shown(image, "masks", depth_order=True) == replace(image, instances=(seen,), depth_constraint=())


def test_a_pose_is_not_shown_and_the_lens_is():
    """A camera's intrinsics are known before any object is; they say nothing of the truth."""
    pose = Pose((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 9))
    seen = AmodalInstance(id=1, category_id=1, visible=masks.encode(np.eye(4, dtype=bool)))
    instances, lens = (replace(seen, pose=pose),), (5.0, 5.0, 2.0, 2.0)
    image = AmodalImage(id=1, file_name="a", width=4, height=4, instances=instances, intrinsics=lens)
    assert shown(image, "masks") == replace(image, instances=(seen,))
    assert shown(image, "image") == replace(image, instances=())


def test_a_device_that_is_not_there_is_refused_at_once(folder, tmp_path):
    with pytest.raises(MissingBackendError, match="this machine has 0 CUDA devices, not cuda; use cpu") as caught:
        run_benchmark(benchmark(folder, device="cuda"), tmp_path / "out")
    assert caught.value.exit_status == 4
    assert not (tmp_path / "out").exists()


def test_a_method_whose_library_is_not_there_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shape3d_amodal.benchmarking.methods.find_spec", lambda _: None)
    with pytest.raises(MissingBackendError, match=r"^mean on squares: the kind mean_shape needs pytorch3d.*leave the"):
        run_benchmark(benchmark(folder, methods={"mean": {"kind": "mean_shape"}}), tmp_path / "out")


def test_what_is_to_be_run_is_said_before(folder, tmp_path, caplog):
    methods = {"hull": {"kind": "convex_hull"}, "visible": {"kind": "visible_only"}}
    images = len(json.loads((folder / "annotations.json").read_text())["images"])
    with caplog.at_level("INFO"):
        run_benchmark(benchmark(folder, methods=methods), tmp_path / "out")
    text = "\n".join(caplog.messages)
    assert f"2 of 2 methods are to be run, on {2 * images} images in all" in text
    assert f"  hull on squares: {images} images" in text and "hull on squares: took " in text
    caplog.clear()
    with caplog.at_level("INFO"):
        run_benchmark(benchmark(folder, methods=methods), tmp_path / "out")
    assert caplog.messages[0].startswith("0 of 2 methods are to be run, on 0 images in all")
