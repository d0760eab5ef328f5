from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from shape3d_amodal.benchmarking.config import load_benchmark
from shape3d_amodal.cli import main
from shape3d_amodal.config import (
    check_file,
    configuration,
    dump_config,
    explained_config,
    load_config,
    load_config_by,
    options_of,
    parse_config,
)
from shape3d_amodal.errors import UsageError
from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.papers.layered.sets import Shapes2dSetConfig
from shape3d_amodal.scenes.sets import SceneSetConfig
from shape3d_amodal.training.registry import load_training

ROOT = Path(__file__).parents[1]


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
        ("name: x\ninner: {rate: .nan}", "inner.rate: input should be a finite number"),
        ("name: x\ninner: {rate: -.inf}", "inner.rate: input should be a finite number"),
        ("name: x\ncount: null", "count: input should be a valid integer"),
        ("name: 3", "name: input should be a valid string"),
        ("name: x\nkind: c", "kind: input should be 'a' or 'b'"),
        ("name: x\ninner: 3", "inner: input should be a dictionary or an instance of Inner"),
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


def test_an_override_replaces_a_whole_group() -> None:
    config = parse_config("inner: {rate: 1.0, pair: [8, 9]}", Holder, overrides=["inner={pair: [6, 7]}"])
    assert config == Holder(inner=Inner(rate=0.7, widths=(5,), pair=(6, 7)))


def test_an_override_changes_one_of_two_groups_that_share_an_anchor() -> None:
    text = "shared: {one: &group {rate: {low: 1}}, two: *group}"
    config = parse_config(text, Shared, overrides=["shared.one.rate.low=2"])
    assert config.shared == {"one": {"rate": {"low": 2}}, "two": {"rate": {"low": 1}}}


@configuration
class Shared:
    """Holds mappings of any kind."""

    shared: dict[str, dict[str, dict[str, int]]]
    """Mappings."""


@pytest.mark.parametrize("override", ["inner", "=3", "inner.rate.deeper=1", "inner.rate=[", "nothing=1"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(UsageError):
        parse_config("{inner: {rate: 1.0}}", Holder, overrides=[override])


def write(folder: Path, **files: str) -> Path:
    """Write files by their stems; the path of the first."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(files))}.yaml"


def test_a_file_is_put_over_its_bases_group_by_group(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    file = write(
        tmp_path,
        file="base: below/middle.yaml\ninner: {rate: 0.5}\nfolder: null\nparts: {y: q}",
    )
    write(
        tmp_path / "below",
        middle="base: ../lowest.yaml\nkind: b\ninner: {widths: [7]}\nswitch: false",
        unused="- no mapping",
    )
    write(
        tmp_path,
        lowest="name: n\nkind: a\ninner: {rate: 0.1, widths: [1, 2, 3], pair: [5, 6]}\nfolder: f\nparts: {x: p}",
    )
    assert load_config(file, Outer) == Outer(
        name="n",
        kind="b",
        inner=Inner(rate=0.5, widths=(7,), pair=(5, 6)),
        switch=False,
        folder=None,
        parts={"x": "p", "y": "q"},
    )


def test_the_later_of_several_bases_is_put_over_the_earlier_ones(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        file="base: [one.yaml, two.yaml]\ncount: 5",
        one="base: lowest.yaml\nname: one\ncount: 3\ninner: {rate: 0.5}",
        two="name: two\ncount: 4\ninner: {widths: [7]}",
        lowest="kind: b\nswitch: false\nname: lowest",
    )
    expected = Outer(name="two", kind="b", switch=False, count=5, inner=Inner(rate=0.5, widths=(7,)))
    assert load_config(file, Outer) == expected


def test_a_file_may_be_the_base_of_two_bases(tmp_path: Path) -> None:
    """That is no circle; the second one brings it once more."""
    lower = "base: lowest.yaml\n"
    file = write(tmp_path, file="base: [a.yaml, b.yaml]", a=f"{lower}count: 3", b=f"{lower}kind: b", lowest="name: n")
    assert load_config(file, Outer) == Outer(name="n", kind="b", count=3)


def test_overrides_are_put_over_file_and_base(tmp_path: Path) -> None:
    file = write(tmp_path, file="base: base.yaml\ncount: 3", base="name: n\ncount: 4\ninner: null")
    overrides = ["name=m", "inner.rate=0.5", "count=5"]
    assert load_config(file, Outer, overrides=overrides) == Outer(name="m", inner=Inner(rate=0.5), count=5)


@pytest.mark.parametrize(
    ("files", "culprit", "message"),
    [
        ({"file": "base: base.yaml", "base": "name: n\ncolour: 3"}, "base", "colour: .*this key is not known"),
        ({"file": "base: base.yaml\ncolour: 3", "base": "name: n"}, "file", "colour: .*this key is not known"),
        ({"file": "base: base.yaml\nname: n", "base": "inner: {rate: x}"}, "base", "inner.rate: .*valid number"),
        ({"file": "base: base.yaml\ninner: {rate: x}", "base": "inner: {rate: 1}\nname: n"}, "file", "inner.rate: "),
        ({"file": "base: base.yaml\ninner: {rate: 1}", "base": "inner: {pair: 1}\nname: n"}, "base", "inner.pair: "),
        ({"file": "base: base.yaml\nkind: b", "base": "count: 3"}, "file", "name: "),
        ({"file": "base: base.yaml\nkind: b", "base": "- name"}, "base", "expected a mapping of options, got list"),
        ({"file": "base: base.yaml\nkind: b", "base": "a: ["}, "base", "not valid YAML"),
        ({"file": "base: none.yaml"}, "file", r"base: .*none\.yaml: cannot read the configuration: No such file"),
        ({"file": "base: [a.yaml, 3]", "a": "name: n"}, "file", "base: expected the path of a YAML file, or .*got 3"),
        ({"file": "base: []\nname: n"}, "file", r"base: expected the path of a YAML file, or several, got \[\]"),
        ({"file": "base: null\nname: n"}, "file", "base: expected the path of a YAML file, or several, got None"),
        ({"file": "base: file.yaml"}, "file", r"base: the files lead in a circle: \S+/file\.yaml -> \S+/file\.yaml$"),
        (
            {"file": "base: a.yaml", "a": "base: b.yaml", "b": "base: ./a.yaml"},
            "b",
            r"base: the files lead in a circle: \S+/file\.yaml -> \S+/a\.yaml -> \S+/b\.yaml -> \S+/a\.yaml$",
        ),
    ],
)
def test_errors_name_the_file_in_which_the_mistake_stands(
    files: dict[str, str], culprit: str, message: str, tmp_path: Path
) -> None:
    file = write(tmp_path, **files)
    with pytest.raises(UsageError, match=message) as caught:
        load_config(file, Outer)
    assert str(caught.value).startswith(f"{tmp_path / culprit}.yaml: ")
    assert "\n" not in str(caught.value)


@configuration
class Range:
    """Options that may not fit each other."""

    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise UsageError(f"low: expected at most {self.high}, got {self.low}")
        if self.low == 13:
            raise UsageError("no number may be 13")


@configuration
class Halves:
    left: Range = Range()
    right: Range | None = None


@configuration
class Whole:
    first: Halves = Halves()
    second: Halves = Halves()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["second.right.low=2"], "second.right.low: expected at most 1, got 2"),
        (["first.left.low=5", "second.left.low=3"], "first.left.low: expected at most 1, got 5"),
        (["first.left={low: 13, high: 20}"], "no number may be 13"),
    ],
)
def test_options_that_do_not_fit_are_called_by_their_whole_names(overrides: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config("{}", Whole, overrides=overrides)
    assert str(caught.value) == f"configuration: {told}"


def test_options_of_a_group_are_called_by_their_whole_names() -> None:
    for problem, told in (
        ("low: too low", "train.low: too low"),
        ("low.x: too low", "train.low.x: too low"),
        ("model.low: too low", "model.low: too low"),
        ("too low", "too low"),
    ):
        with pytest.raises(UsageError) as caught, options_of("train", Range()):
            raise UsageError(problem)
        assert str(caught.value) == told


def test_the_option_that_chooses_the_class_may_stand_in_the_base(tmp_path: Path) -> None:
    def class_of(kind: object) -> type[Outer]:
        if kind != "b":
            raise UsageError(f"kind: expected b, got {kind!r}")
        return Outer

    file = write(tmp_path, file="base: base.yaml\nname: n", base="kind: b")
    assert load_config_by(file, "kind", class_of) == Outer(name="n", kind="b")
    with pytest.raises(UsageError, match=r"file\.yaml: kind: expected b, got 'c'"):
        load_config_by(file, "kind", class_of, overrides=["kind=c"])
    write(tmp_path, base="kind: d")
    with pytest.raises(UsageError, match=r"base\.yaml: kind: expected b, got 'd'"):
        load_config_by(file, "kind", class_of)


def test_text_without_a_file_has_no_base(tmp_path: Path) -> None:
    base = write(tmp_path, base="name: n")
    with pytest.raises(UsageError, match="base: unexpected keyword argument; this key is not known"):
        parse_config(f"base: {base}\nname: m", Outer)


@configuration
class Explained:
    """Everything that is explained in its own way."""

    first: Inner | None = None
    """A group that
    may be absent."""
    second: Outer = FULL
    """A group in which there is a group."""
    several: tuple[Inner, ...] = (Inner(), Inner(rate=7))
    """A list of groups."""
    named: dict[str, Inner] = field(default_factory=lambda: {"a: b": Inner(), "c": Inner()})
    """Groups by name."""
    lines: str = "two\n\nlines: #1"
    """Text that YAML must quote."""


EXPLAINED = """\
# A group that may be absent.
first: null
# A group in which there is a group.
second:
  # Has no default.
  name: n
  # One of two.
  kind: b
  # A configuration inside.
  inner:
    # A rate.
    rate: 1.0e-05
    # Widths.
    widths: []
    # Two numbers.
    pair: [0, -1]
  # A number.
  count: -3
  # A switch.
  switch: false
  # A path.
  folder: p
  # A mapping.
  parts: {x: '1'}
# A list of groups.
several:
  -
    # A rate.
    rate: 0.1
    # Widths.
    widths: [1, 2]
    # Two numbers.
    pair: [3, 4]
  -
    rate: 7.0
    widths: [1, 2]
    pair: [3, 4]
# Groups by name.
named:
  'a: b':
    # A rate.
    rate: 0.1
    # Widths.
    widths: [1, 2]
    # Two numbers.
    pair: [3, 4]
  c:
    rate: 0.1
    widths: [1, 2]
    pair: [3, 4]
# Text that YAML must quote.
lines: 'two


  lines: #1'
"""


def test_an_explained_configuration_says_what_every_option_is() -> None:
    text = explained_config(Explained())
    assert text == EXPLAINED
    assert parse_config(text, Explained) == Explained()
    given = Explained(first=Inner(rate=3), several=(), named={})
    assert parse_config(explained_config(given), Explained) == given


SETS: dict[str, type] = {
    "open13/test.yaml": SceneSetConfig,
    "open13/test_bars.yaml": SceneSetConfig,
    "open13/test_heavy.yaml": SceneSetConfig,
    "shapes2d/test.yaml": Shapes2dSetConfig,
}
BENCHMARKS = (
    *(f"open13/{name}.yaml" for name in ("benchmark", "known", "prior", "systems")),
    "lmo/known.yaml",
    "shapes2d/benchmark.yaml",
    "kins/benchmark_small.yaml",
    "kins_switches/benchmark.yaml",
    *(f"{name}/benchmark.yaml" for name in ("kins", "cocoa_cls", "d2sa")),
)
SHIPPED = sorted(str(path.relative_to(ROOT / "configs")) for path in ROOT.glob("configs/**/*.yaml"))
COMPLETE = [name for name in SHIPPED if not Path(name).name.startswith("_")]


@pytest.mark.parametrize("name", COMPLETE)
def test_every_shipped_configuration_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = Path("configs") / name
    config: object
    if name in SETS:
        config = load_config(path, SETS[name])
    elif name in BENCHMARKS:
        config = load_benchmark(path).config
    else:
        config = load_training(path, overrides=["loop.steps=7"])
        assert config.loop.steps == 7
    assert parse_config(explained_config(config), type(config)) == config


@pytest.mark.parametrize("name", COMPLETE)
def test_weights_come_from_shipped_configurations(name: str) -> None:
    """Weights in outputs/SET/NAME are those that configs/SET/NAME.yaml leaves there; others are shipped ones."""
    for folder in weights_of(check_file(ROOT / "configs" / name)):
        config = re.fullmatch(r"outputs/(\w+/\w+)/weights", folder)
        assert config is not None, folder
        assert f"{config[1]}.yaml" in COMPLETE and f"{config[1]}.yaml" not in (*SETS, *BENCHMARKS), folder


def weights_of(said: object, key: str = "") -> list[str]:
    """The texts in a configuration that name weights: paths of outputs, but for the places of data."""
    if isinstance(said, dict):
        return [found for name, value in said.items() for found in weights_of(value, str(name))]
    if isinstance(said, list):
        return [found for value in said for found in weights_of(value, key)]
    places = ("annotations", "images", "data", "meshes", "shards", "intro", "title", "note", "text", "file")
    return [said] if isinstance(said, str) and said.startswith("outputs/") and key not in places else []


def test_the_scripts_train_what_their_benchmarks_compare() -> None:
    script = (ROOT / "scripts/train_kins.sh").read_text(encoding="utf-8")
    trained = {name for line in re.findall(r"^ +train ([\w ]+)", script, re.MULTILINE) for name in line.split()}
    for name in ("kins/benchmark.yaml", "kins/benchmark_small.yaml"):
        needed = {folder.split("/")[2] for folder in weights_of(check_file(ROOT / "configs" / name))}
        assert needed <= trained
    known = {Path(name).stem for name in COMPLETE if name.startswith("kins/")}
    assert trained <= known


def test_known_shapes_are_compared_on_all_categories_and_on_heavily_hidden_things() -> None:
    benchmark = load_benchmark(ROOT / "configs/open13/known.yaml")
    heavy, plain = benchmark.scenes["heavy"], benchmark.scenes["composed"]
    assert (heavy.scenes.min_hidden, heavy.scenes.max_hidden, heavy.per_category) == (0.7, 0.9, 20)
    assert heavy.meshes == plain.meshes == "open13:test" and heavy.seed != plain.seed
    assert all(not run.without and run.methods == tuple(benchmark.methods) for run in benchmark.runs)
    wrong = benchmark.config.methods["wrong shapes"]["taken_for"]
    assert sorted(wrong) == sorted(wrong.values()) == sorted(CATEGORIES)
    assert all(own != other for own, other in wrong.items())


@pytest.mark.parametrize(("command", "name"), [("train", "kins/orcnn.yaml"), ("benchmark", "open13/prior.yaml")])
def test_print_config_prints_a_configuration_with_explanations(
    command: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    changed = "loop.seed=5" if command == "train" else "threads=5"
    assert main([command, f"configs/{name}", "--print-config", "--set", changed]) == 0
    file = write(tmp_path, printed=capsys.readouterr().out)
    if command == "train":
        assert load_training(file) == load_training(ROOT / "configs" / name, overrides=[changed])
        assert "  # Seed of all random numbers.\n  seed: 5\n" in file.read_text(encoding="utf-8")
    else:
        assert load_benchmark(file).config == load_benchmark(ROOT / "configs" / name, overrides=[changed]).config


def test_every_shared_part_is_the_base_of_several_files() -> None:
    bases = []
    for name in SHIPPED:
        path = ROOT / "configs" / name
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        named = said.get("base", [])
        bases += [(path.parent / base).resolve() for base in ([named] if isinstance(named, str) else named)]
    parts = [name for name in SHIPPED if name not in COMPLETE]
    assert parts
    assert [name for name in parts if bases.count((ROOT / "configs" / name).resolve()) < 2] == []


def test_options_of_a_base_class_are_explained_too():
    text = explained_config(load_training(Path(__file__).parents[1] / "configs" / "open13" / "shape_prior.yaml"))
    lines = text.splitlines()
    for key in ("stage:", "supervision:", "hidden_share:"):
        (place,) = (number for number, line in enumerate(lines) if line.startswith(key))
        assert lines[place - 1].startswith("# "), key


def test_a_group_of_an_old_name_is_read(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("stage: rcnn\nsystem: mask_rcnn\npictures: {annotations: a.json, images: b}\n")
    assert check_file(file)["train"] == {"annotations": "a.json", "images": "b"}
    file.write_text("stage: rcnn\npictures: {images: b}\ntrain: {images: c}\n")
    assert check_file(file)["pictures"] == {"images": "b"} and check_file(file)["train"] == {"images": "c"}
