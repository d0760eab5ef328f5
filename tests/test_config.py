from __future__ import annotations

from dataclasses import FrozenInstanceError, field
from pathlib import Path
from typing import Literal

import pytest

from shape3d_amodal.config import configuration, dump_config, load_config, parse_config
from shape3d_amodal.errors import UsageError


@configuration
class Inner:
    """The inner one."""

    rate: float = 0.1
    """A rate."""
    widths: tuple[int, ...] = (1, 2)
    """Widths."""
    pair: tuple[int, int] = (3, 4)
    """Two numbers."""


@configuration
class Outer:
    """The outer one."""

    name: str
    """Has no default."""
    kind: Literal["a", "b"] = "a"
    """One of two."""
    inner: Inner = Inner()
    """A configuration inside."""
    count: int = 2
    """A number."""
    switch: bool = True
    """A switch."""
    folder: Path | None = None
    """A path."""
    parts: dict[Literal["x", "y"], str] = field(default_factory=dict)
    """A mapping."""


FULL = Outer(
    name="n",
    kind="b",
    inner=Inner(rate=1e-5, widths=(), pair=(0, -1)),
    count=-3,
    switch=False,
    folder=Path("p"),
    parts={"x": "1"},
)


@pytest.mark.parametrize("config", [Outer(name=""), FULL, Inner()])
def test_round_trip(config: object, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(file, type(config)) == config
    assert parse_config(dump_config(config), type(config)) == config


def test_defaults_and_conversions() -> None:
    config = parse_config("name: x\ninner: {widths: [5], rate: 1e-3}\nfolder: a/b", Outer)
    assert config == Outer(name="x", inner=Inner(widths=(5,), rate=0.001), folder=Path("a/b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam: x", "name: "),
        ("{}", "name: "),
        ("name: x\ncolour: 3", "colour: unexpected keyword argument; this key is not known"),
        ("name: x\ninner: {rates: 3}", "inner.rates: unexpected keyword argument"),
        ("name: x\ncount: many", "count: input should be a valid integer"),
        ("name: x\ncount: 2.5", "count: input should be a valid integer"),
        ("name: x\ncount: null", "count: input should be a valid integer"),
        ("name: 3", "name: input should be a valid string"),
        ("name: x\nkind: c", "kind: input should be 'a' or 'b'"),
        ("name: x\ninner: 3", "inner: input should be a dictionary or an instance of inner"),
        ("name: x\ninner: {widths: 5}", "inner.widths: input should be a valid tuple"),
        ("name: x\ninner: {widths: [1, b]}", "inner.widths.1: input should be a valid integer"),
        ("name: x\ninner: {pair: [1]}", "inner.pair"),
        ("name: x\nswitch: perhaps", "switch: input should be a valid boolean"),
        ("name: x\nparts: {z: q}", "parts.z"),
        ("- a\n- b", "expected a mapping of options, got list"),
        ("", "expected a mapping of options, got NoneType"),
        ("just words", "expected a mapping of options, got str"),
        ("a: [1", "not valid YAML"),
        ("a: !!python/object:os.system x", "not valid YAML"),
        ("name: x\n1: 2", "1: keys should be strings"),
    ],
)
def test_refusals_are_one_line_with_place(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_config(file, Outer)
    shown = str(caught.value)
    assert shown.startswith(f"{file}: ")
    assert message in shown
    assert "\n" not in shown


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"name: \xe9")
    for path, message in (("missing", "No such file"), (".", "Is a directory"), ("latin", "can't decode")):
        with pytest.raises(UsageError, match=f"cannot read the configuration: .*{message}"):
            load_config(tmp_path / path, Outer)


def test_configurations_are_frozen_and_keyword_only() -> None:
    config = Inner()
    with pytest.raises(FrozenInstanceError):
        config.rate = 2.0  # type: ignore[misc]
    with pytest.raises(Exception, match="positional"):
        Inner(0.2)  # type: ignore[misc]
    with pytest.raises(Exception, match="rates"):
        Inner(rates=0.2)  # type: ignore[call-arg]


@configuration
class Holder:
    """Its default for the group is not the group's own."""

    inner: Inner = Inner(rate=0.7, widths=(5,))
    """A configuration inside."""


@pytest.mark.parametrize(
    ("text", "overrides"), [("inner: {pair: [8, 9]}", ()), ("{}", ("inner.pair=[8, 9]",))], ids=["file", "override"]
)
def test_a_group_given_in_part_keeps_the_rest_of_its_defaults(text: str, overrides: tuple[str, ...]) -> None:
    assert parse_config(text, Holder, overrides=overrides) == Holder(inner=Inner(rate=0.7, widths=(5,), pair=(8, 9)))


@pytest.mark.parametrize("override", ["inner", "=3", "inner.rate.deeper=1", "inner.rate=[", "nothing=1"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(UsageError):
        parse_config("{inner: {rate: 1.0}}", Holder, overrides=[override])
