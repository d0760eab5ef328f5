"""What ``safe_io`` reads when the file is good; bad files are in tests/attacks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.atomic import write_atomic, write_json_atomic

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def saved(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)
    pixels = safe_io.read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (image.height, image.width, 3)
    return pixels


class TestImages:
    def test_rgb(self, tmp_path: Path) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        np.testing.assert_array_equal(saved(Image.fromarray(rgb), tmp_path / "a.png"), rgb)

    def test_grey_is_repeated(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(saved(Image.fromarray(RAMP), tmp_path / "a.png")[..., 1], RAMP)

    def test_16_bit_grey_keeps_its_high_byte(self, tmp_path: Path) -> None:
        wide = RAMP.astype(np.uint16) * 256 + 77
        np.testing.assert_array_equal(saved(Image.fromarray(wide), tmp_path / "a.png")[..., 2], RAMP)

    def test_palette(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([255, 0, 0, 0, 0, 255])
        image.putdata([1, 0])
        np.testing.assert_array_equal(saved(image, tmp_path / "a.png"), [[[0, 0, 255], [255, 0, 0]]])

    def test_transparency_is_dropped(self, tmp_path: Path) -> None:
        image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
        np.testing.assert_array_equal(saved(image, tmp_path / "a.png"), [[[10, 20, 30]] * 2])


class TestJson:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"a": [1, 2.5, null, true, "\\u00e4"]}', {"a": [1, 2.5, None, True, "ä"]}),
            ('\ufeff{"a": 1, "a": 2}', {"a": 2}),
            ("[" * 100 + "]" * 100, None),
        ],
    )
    def test_values(self, text: str, value: object, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        read = safe_io.read_json(tmp_path / "a.json")
        assert read == value if value else isinstance(read, list)

    @pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
    def test_a_number_that_is_refused_is_told_with_its_place(self, token: str, tmp_path: Path) -> None:
        before = '{"NaN, 1e999": "\\"Infinity, -Infinity\\"",\n "1e9990": -1e40,\n  "area": '
        (tmp_path / "a.json").write_text(f'{before}{token}, "b": {token}}}')
        with pytest.raises(DataError, match=rf"at line 3, column 11: .*, got {token}"):
            safe_io.read_json(tmp_path / "a.json")

    def test_the_limit_is_inclusive(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"12345")
        assert safe_io.read_bytes(tmp_path / "a", 5) == b"12345"
        with pytest.raises(DataError, match="at most 4 bytes"):
            safe_io.read_bytes(tmp_path / "a", 4)


class TestPaths:
    @pytest.mark.parametrize("name", ["a.png", "x/a.png", "./a.png", "x/.../b c.png", "..a", "ä.png"])
    def test_inside(self, name: str, tmp_path: Path) -> None:
        assert safe_io.resolve_inside(tmp_path, name) == (tmp_path / name).resolve()

    def test_a_link_within_the_folder_and_a_linked_root_are_fine(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "a").write_bytes(b"")
        (tmp_path / "set" / "b").symlink_to("a")
        (tmp_path / "root").symlink_to("set")
        assert safe_io.resolve_inside(tmp_path / "root", "b") == (tmp_path / "set" / "a").resolve()

    def test_a_folder_of_a_like_name_is_outside(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set2").mkdir()
        (tmp_path / "set" / "up").symlink_to(tmp_path / "set2")
        with pytest.raises(DataError, match="symbolic link"):
            safe_io.resolve_inside(tmp_path / "set", "up/a")


class TestWriting:
    def test_replaces_whole(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "a", b"old")
        write_json_atomic(tmp_path / "a", {"x": [1, 2.5]})
        assert safe_io.read_json(tmp_path / "a") == {"x": [1, 2.5]}
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_a_failure_leaves_the_old_file_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_atomic(tmp_path / "a", b"old")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            write_atomic(tmp_path / "a", b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_nan_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="JSON"):
            write_json_atomic(tmp_path / "a", [float("nan")])
        assert not list(tmp_path.iterdir())

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot write"):
            write_atomic(tmp_path / "no" / "a", b"")
