"""``data validate``, ``convert`` and ``stats`` from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import annotated
import numpy as np
import pytest
from PIL import Image

from shape3d_amodal.annotations.formats.registry import FORMATS, PUBLISHED, read_dataset
from shape3d_amodal.cli import main


@pytest.fixture
def cocoa(tmp_path: Path) -> Path:
    path = tmp_path / "cocoa.json"
    path.write_text(json.dumps(annotated.cocoa()))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    document = annotated.kins2020()
    document["annotations"][0]["i_segm"] = annotated.rle([5, 5])
    document["annotations"][1]["i_bbox"] = [0, 0, 1, 1]
    document["annotations"][2]["image_id"] = 9
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document))
    return path


def test_a_clean_file_is_done(cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "validate", str(cocoa), "--out", str(tmp_path / "out" / "report.json")]) == 0
    out = capsys.readouterr().out
    assert "cocoa, 1 image, 3 categories, 3 objects" in out
    assert "0 errors, 0 warnings" in out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["format"] == "cocoa"


def test_all_problems_stand_in_the_table_and_the_json(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "validate", str(broken), "--out", str(tmp_path / "report.json")]) == 3
    shown = capsys.readouterr()
    for part in ("annotations[0].i_segm.counts", "annotations[2].image_id", "annotations[1].i_bbox", "2 errors"):
        assert part in shown.out
    assert shown.err.startswith(f"error: {broken}: 2 errors; correct them") and shown.err.count("\n") == 1
    told = json.loads((tmp_path / "report.json").read_text())
    assert [one["check"] for one in told["problems"] if one["severity"] == "error"] == ["record", "record"]


def test_records_that_can_be_read_are_not_to_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = annotated.cocoa_cls()
    document["annotations"][0]["occlude_rate"] = 0.9
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert main(["data", "validate", str(tmp_path / "a.json")]) == 3
    assert "--drop-invalid" not in capsys.readouterr().err
    (tmp_path / "a.json").write_text("{")
    assert main(["data", "validate", str(tmp_path / "a.json")]) == 3
    assert "--drop-invalid" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "stats"])
def test_an_output_that_cannot_be_written_is_told_before_the_work(
    command: str, cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "report.json"
    assert main(["data", command, str(cocoa), "--out", str(out)]) != 0
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1


def test_the_report_on_standard_output_is_json_alone(cocoa: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["data", "validate", str(cocoa), "--out", "-"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["format"] == "cocoa"


def test_warnings_alone_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kins.json").write_text(json.dumps(annotated.kins2019()))
    assert main(["data", "validate", str(tmp_path / "kins.json")]) == 0
    out = capsys.readouterr().out
    assert "category-ids" in out
    assert out.endswith("0 errors, 2 warnings\n")


def test_images_and_published_counts(cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(tmp_path / "000005.png")
    assert main(["data", "validate", str(cocoa), "--images", str(tmp_path)]) == 0
    assert main(["data", "validate", str(cocoa), "--images", str(tmp_path / "elsewhere")]) == 3
    assert main(["data", "validate", str(cocoa), "--published", "cocoa-cls-val"]) == 3
    assert "1223" in capsys.readouterr().out


def test_many_problems_of_a_kind_are_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = annotated.kins2019()
    for index in range(9):
        document["annotations"].append({"id": 10 + index, "image_id": 8})
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert main(["data", "validate", str(tmp_path / "a.json"), "--examples", "2"]) == 3
    out = capsys.readouterr().out
    assert "and 7 more" in out
    assert out.count(".image_id") == 2


@pytest.mark.parametrize("to", FORMATS)
def test_convert(to: str, cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "new.json"
    assert main(["data", "convert", str(cocoa), "--to", to, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "not held: annotations[].author is not read" in lines
    assert lines[-1] == f"1 image with 3 objects from cocoa to {to} in {out}"
    assert len(read_dataset(out).images[0].instances) == 3


def test_convert_tells_what_it_leaves_out(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "convert", str(broken), "--to", "d2sa", "--out", str(tmp_path / "new.json")]
    assert main(arguments) == 3
    assert not (tmp_path / "new.json").exists()
    assert capsys.readouterr().err.count("\n") == 1
    assert main([*arguments, "--drop-invalid"]) == 0
    out = capsys.readouterr().out
    assert "left out: annotations[2].image_id: no image has the id 9" in out
    assert "1 image with 1 object from" in out


def test_stats_of_a_file_whose_name_is_not_utf_8(cocoa: Path, tmp_path: Path) -> None:
    named = cocoa.rename(tmp_path / os.fsdecode(b"caf\xe9.json"))
    assert main(["data", "stats", str(named), "--out", str(tmp_path / "out")]) == 0
    assert "caf\ufffd.json" in (tmp_path / "out" / "statistics.md").read_text(encoding="utf-8")


def test_stats(cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(cocoa), "--out", str(tmp_path / "out")]) == 0
    assert "| old car | 1 | 33.3 % |" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "statistics.md",
        "statistics.json",
        "statistics.png",
    }
    assert json.loads((tmp_path / "out" / "statistics.json").read_text())["objects"] == 3


@pytest.mark.parametrize("command", ["validate", "convert", "stats"])
@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "dots"])
def test_no_command_writes_over_what_it_reads(
    command: str, link: str, cocoa: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = cocoa.read_bytes(), cocoa.with_name("out.json")
    if command == "stats":
        cocoa = cocoa.rename(cocoa.with_name("statistics.json"))
        out = cocoa
    if link == "symbolic" and command != "stats":
        out.symlink_to(cocoa)
    elif link == "hard" and command != "stats":
        out.hardlink_to(cocoa)
    elif command != "stats":
        out = cocoa if link == "same" else cocoa.parent / "x" / ".." / cocoa.name
        (cocoa.parent / "x").mkdir()
    target = out.parent if command == "stats" else out
    more = ["--to", "d2sa"] if command == "convert" else []
    assert main(["data", command, str(cocoa), *more, "--out", str(target)]) == 2
    assert cocoa.read_bytes() == before
    shown = capsys.readouterr()
    assert "would overwrite the input" in shown.err and shown.err.count("\n") == 1 and shown.out == ""


@pytest.mark.parametrize("out", ["", ".", "folder"])
@pytest.mark.parametrize("arguments", [["validate"], ["convert", "--to", "d2sa"]])
def test_an_output_without_a_name_is_one_line(
    arguments: list[str],
    out: str,
    cocoa: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments, str(cocoa), "--out", out]) == 2
    err = capsys.readouterr().err
    expected = "--out: expected the name of a file to write" if out else "an empty argument behind --out"
    assert err.startswith(f"error: {expected}") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cocoa.json", "folder"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "--published", "kins"],
        ["validate", "--images", ".", "--allow-links", "missing"],
        ["convert", "--to", "coco", "--out", "b.json"],
        ["convert", "--to", "d2sa", "--masks", "polygons", "--out", "b.json"],
        ["convert", "--to", "d2sa", "--out", "-"],
        ["convert", "--to", "d2sa", "--out", ""],
        ["convert", "--to", "d2sa", "--out", "b.json", "--classes", "missing.yaml"],
    ],
)
def test_options_are_checked_before_the_file_is_read(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments, str(tmp_path / "no such file.json")]) == 2  # 3 would be the missing file
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["data"], ["data", "nonsense"], ["data", "convert", "a.json"], ["data", "validate"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    try:
        status: object = main(arguments)
    except SystemExit as stop:  # the parser's own errors
        status = stop.code
    assert status == 2


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["stats"], ["convert", "--to", "cocoa", "--out", str(tmp_path / "b.json")]):
        assert main(["data", *command, str(tmp_path / "missing.json")]) == 3
        err = capsys.readouterr().err
        assert err.startswith("error: ") and "No such file" in err and err.count("\n") == 1
    assert main(["data", "validate", str(tmp_path / "missing.json")]) == 3


@pytest.mark.parametrize(
    ("arguments", "known"),
    [(["convert", "--to", "coco", "--out", "b.json"], FORMATS), (["validate", "--published", "kins"], PUBLISHED)],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    arguments: list[str], known: dict[str, object], cocoa: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *arguments, str(cocoa)]) == 2
    err = capsys.readouterr().err
    assert all(name in err for name in known) and err.count("\n") == 1


def test_help_of_the_group_is_light() -> None:
    code = (
        "import sys; from shape3d_amodal.cli import main\n"
        "try: main(['data', '--help'])\n"
        "except SystemExit: print(*sorted({'torch', 'numba', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in ("validate", "convert", "stats"))
    assert done.stdout.splitlines()[-1] == ""
