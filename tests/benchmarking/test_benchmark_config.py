"""What a benchmark's YAML may say, and what is said of what it may not."""

from __future__ import annotations

import pytest
from drawn_data import benchmark, draw_data, write_config

from shape3d_amodal.benchmarking.config import file_stem, load_benchmark
from shape3d_amodal.benchmarking.methods import KINDS, ConvexHullOptions, PipelineOptions, options_class
from shape3d_amodal.errors import UsageError


def test_names_are_resolved_in_order(tmp_path):
    draw_data(tmp_path)
    config = benchmark(tmp_path)
    (run,) = config.runs
    assert (run.data, run.track, run.title, run.focus) == ("squares", "completion", "squares", "hull")
    assert run.methods == ("visible", "hull")
    assert config.methods["hull"] == ConvexHullOptions(background=False)


def test_tables_have_titles_of_their_own(tmp_path):
    draw_data(tmp_path)
    runs = [{"data": "squares"}, {"data": "squares", "track": "order"}]
    assert [run.title for run in benchmark(tmp_path, runs=runs).runs] == ["squares", "squares, order"]


def test_methods_may_be_chosen_and_options_overridden(tmp_path):
    path = write_config(
        tmp_path,
        methods={"a": {"kind": "visible_only"}, "b": {"kind": "pipeline", "fit": {"steps": 3}}},
        runs=[{"data": "squares", "methods": ["b", "a"], "focus": "b"}],
    )
    config = load_benchmark(path, overrides=["methods.b.refine=none"])
    (run,) = config.runs
    assert (run.methods, run.focus) == (("b", "a"), "b")
    options = config.methods["b"]
    assert isinstance(options, PipelineOptions)
    assert (options.refine, options.fit.steps, options.fit.starts) == ("none", 3, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nothing": 1}, "nothing: "),
        ({"runs": []}, "runs: expected one or more tables, got none"),
        ({"runs": [{"data": "circles"}]}, r"runs\[0\].data: expected one of squares, got 'circles'"),
        ({"runs": [{"data": "squares", "methods": ["x"]}]}, r"runs\[0\].methods: expected one of visible, hull, got"),
        ({"runs": [{"data": "squares", "focus": "x"}]}, r"runs\[0\].focus: expected one of visible, hull"),
        ({"runs": [{"data": "squares", "track": "instance"}]}, "'visible' takes no part in the instance track"),
        ({"runs": [{"data": "squares", "track": "x"}]}, r"runs\[0\].track: expected one of completion, .*, got 'x'"),
        ({"runs": [{"data": "squares", "class_agnostic": True}]}, "class_agnostic: is of the track instance, got comp"),
        ({"runs": [{"data": "squares"}] * 2}, "same data and track"),
        (
            {"runs": [{"data": "squares", "title": "T"}, {"data": "squares", "track": "order", "title": "T"}]},
            "runs: two of them have the title 'T'",
        ),
        ({"methods": {"a": {"kind": "magic"}}}, r"methods.a: kind: expected one of visible_only, .*, got 'magic'"),
        ({"methods": {"a": {"kind": "convex_hull", "depth": 1}}}, "methods.a: depth: .*this key is not known"),
        ({"methods": {"a": {"kind": "pipeline", "fit": {"steps": -1}}}}, "a: fit.steps: .*greater than or equal"),
        ({"methods": {"a": {"kind": "bank", "fit_steps": -1}}}, "methods.a: fit_steps: .*greater than or equal"),
        ({"methods": {"a b": {}, "a-b": {}}}, r"methods.a b: kind: expected one of visible_only, .*, got None"),
        ({"methods": {name: {"kind": "convex_hull"} for name in ("a b", "a-b")}}, "got 'a-b', which is too much like"),
        ({"data": {"squares": {}}}, "data.squares: expected either scenes, or annotations and images"),
        ({"data": {"squares": {"annotations": "a.json"}}}, "data.squares: expected either"),
        ({"data": {"squares": {"scenes": "a.yaml", "meshes": "m"}}}, "data.squares.meshes: scenes have their own"),
        ({"runs": [{"data": "squares", "track": "pose"}]}, r"track pose .* got none; name .* in data.squares.meshes"),
        ({"data": {"squares": {"scenes": "none.yaml"}}}, "none.yaml: cannot read the configuration"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        benchmark(tmp_path, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "stem"), [("Convex hull, plain", "convex_hull_plain"), ("K = 1", "k_1"), ("...", "")])
def test_file_stem(name, stem):
    assert file_stem(name) == stem


def test_a_benchmark_may_build_on_another(tmp_path):
    write_config(tmp_path, methods={"a": {"kind": "visible_only"}})
    file = tmp_path / "file.yaml"
    file.write_text("base: benchmark.yaml\nmethods: {b: {kind: convex_hull}}")
    (run,) = load_benchmark(file).runs
    assert list(run.methods) == ["a", "b"]


def test_every_kind_says_what_it_is():
    assert all(options_class(kind).__doc__ for kind in KINDS)
