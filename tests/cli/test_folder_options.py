"""Options that name a folder, and the file - : what is wrong is said before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from shape3d_amodal.cli import main
from shape3d_amodal.pipeline import ShapePriorPipeline


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("complete --images FILE --annotations FILE --out new.json", "--images"),
        ("render --images FILE --annotations FILE --out new", "--images"),
        ("samples FILE --images FILE --annotations FILE", "--images"),
        ("data validate FILE --images FILE", "--images"),
        ("data convert FILE --from bop --models FILE --to kins2020 --out new.json", "--models"),
        ("evaluate FILE --annotations FILE --track shape --mesh-folder FILE", "--mesh-folder"),
    ],
)
def test_a_file_in_place_of_a_folder(tmp_path: Path, monkeypatch, capsys, command: str, option: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text("{}")

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("weights were opened")

    monkeypatch.setattr(ShapePriorPipeline, "from_pretrained", opened)
    assert main(command.replace("FILE", "a.json").split()) == 2
    assert capsys.readouterr().err == f"error: {option}: expected a folder, got the file a.json\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("render --images . --annotations a.json", "a folder to write to"),
        ("predict . --weights open13", "a folder to write to"),
        ("data stats a.json", "a folder to write to"),
        ("samples a.json --images . --annotations a.json", "the name of a file to write"),
        ("shapes2d show --weights open13", "the name of a file to write"),
    ],
)
def test_standard_output_where_it_cannot_be(tmp_path: Path, monkeypatch, capsys, command: str, expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text("{}")
    Path("a.png").write_bytes(b"")
    assert main([*command.split(), "--out", "-"]) == 2
    assert f"--out: expected {expected}, got - (standard output); name one\n" in capsys.readouterr().err
