from __future__ import annotations

import math

import pytest
from drawn import CATEGORIES, dataset, drawn, instance, result
from scoring import evaluate_completion

from shape3d_amodal.evaluation.tables import Table, category_table, counted, level_table, markdown_table, summary_table

CHAIR, RIFLE, _ = (category.id for category in CATEGORIES)
LEFT = drawn("##..", "##..")
FULL = drawn("####", "####")
TOP = drawn("####", "....")


@pytest.fixture
def methods():
    truth = dataset(instance(1, CHAIR, LEFT, FULL), instance(2, RIFLE, TOP, FULL))
    return {
        "visible only": evaluate_completion(truth, [result(1, CHAIR, LEFT), result(2, RIFLE, TOP)]),
        "ours | new": evaluate_completion(truth, [result(1, CHAIR, FULL)], boundary=True),
    }


def test_category_table(methods):
    table = category_table(methods, title="mIoU", without=("rifle",))
    assert table.columns == ("chair", "rifle", "mean", "mean without rifle")
    assert table.rows == (("visible only", (50, 50, 50, 50)), ("ours | new", (100, 0, 50, 100)))
    assert table.to_markdown() == (
        "| method | chair | rifle | mean | mean without rifle |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| visible only | 50.0 | **50.0** | **50.0** | 50.0 |\n"
        "| ours \\| new | **100.0** | 0.0 | **50.0** | **100.0** |\n"
    )


def test_transposed_table_marks_the_same_numbers(methods):
    table = category_table(methods, "occluded_miou")
    turned = table.transposed()
    assert turned.corner == "category" and turned.columns == ("visible only", "ours | new")
    assert turned.rows == (("chair", (0, 100)), ("rifle", (0, 0)), ("mean", (0, 50)))
    assert turned.best() == [list(column) for column in zip(*table.best(), strict=True)]
    assert turned.best() == [[False, True], [True, True], [False, True]]
    assert turned.transposed() == table


def test_marks_follow_the_printed_digits():
    table = Table(
        title="", corner="", columns=("a", "b", "c"), rows=(("x", (1.04, 2.0, math.nan)), ("y", (1.0, 3.0, 4.0)))
    )
    assert table.best() == [[True, False, False], [True, True, False]]
    assert list(table.lines()) == [
        ("x", [("1.0", True), ("2.0", False), ("–", False)]),
        ("y", [("1.0", True), ("3.0", True), ("4.0", False)]),
    ]
    assert "| x | **1.0** | 2.0 | – |\n" in table.to_markdown() and table.has_numbers


def test_no_rows():
    table = Table(title="", corner="method", columns=("a",), rows=())
    assert table.to_markdown() == "| method | a |\n| --- | ---: |\n"
    assert table.best() == table.transposed().best()[1:] == []
    assert not table.has_numbers


def test_summary_and_levels(methods):
    summary = summary_table(methods)
    assert summary.columns == ("mIoU", "occluded mIoU", "mIoU_full", "mIoU_occ", "micro mIoU", "boundary mIoU")
    assert summary.rows[1][1][:5] == (50, 50, 50, 50, 50)
    assert math.isnan(summary.rows[0][1][5])
    levels = level_table(methods)
    assert levels.columns == ("heavy (2)",), "columns without numbers are left out"
    assert levels.rows[0][1] == (50,)


def test_columns_without_numbers_are_left_out_with_their_intervals():
    nan = math.nan
    table = Table(
        title="",
        corner="method",
        columns=("empty", "half", "full"),
        rows=(("x", (nan, nan, 1.0)), ("y", (nan, 2.0, 3.0))),
        intervals=(((nan, nan), None, (0.5, 1.5)), (None, (nan, nan), (2.25, 3.5))),
    )
    kept = table.filled()
    assert kept.columns == ("half", "full") and kept.rows[1] == ("y", (2.0, 3.0))
    assert kept.printed_intervals() == [["", "0.5 to 1.5"], ["–", "2.2 to 3.5"]]
    assert kept.to_markdown().splitlines()[2:] == [
        "| x | – | 1.0 (0.5 to 1.5) |",
        "| y | 2.0 (–) | **3.0** (2.2 to 3.5) |",
    ]
    assert kept.transposed().printed_intervals() == [["", "–"], ["0.5 to 1.5", "2.2 to 3.5"]]
    assert kept.transposed().filled() == kept.transposed()


def test_columns_that_do_not_compete_have_no_best():
    table = Table(
        title="", corner="", columns=("a", "ms"), rows=(("x", (1.0, 2.0)), ("y", (3.0, 4.0))), unmarked=("ms",)
    )
    assert table.best() == [[False, False], [True, False]]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 objects"), (1, "1 object"), (2, "2 objects"), (1014, "1,014 objects")]
)
def test_one_is_singular(number, text):
    assert counted(number, "object") == text
    assert counted(number, "category", "categories").endswith("y" if number == 1 else "ies")


def test_where_the_lowest_number_is_the_best():
    table = Table(
        title="", corner="", columns=("error", "share"), rows=(("x", (1.0, 2.0)), ("y", (3.0, 3.0))), lower=("error",)
    )
    assert table.best() == [[True, False], [False, True]]
    assert table.transposed().best() == [[True, False], [False, True]]


def test_the_best_of_close_numbers():
    table = Table(title="", corner="", columns=("a",), rows=(("x", (1.2,)), ("y", (1.4,)), ("z", (math.nan,))))
    assert table.best() == [[False], [True], [False]]
    alone = Table(title="", corner="", columns=("a",), rows=(("x", (1.2,)), ("z", (math.nan,))))
    assert alone.best() == [[False], [False]], "nothing to compare with"


@pytest.mark.parametrize(
    ("values", "any_number"), [((1.0, 2.0), True), ((1.0, math.nan), True), ((math.nan, math.nan), False)]
)
def test_whether_there_are_numbers(values, any_number):
    assert Table(title="", corner="", columns=("a", "b"), rows=(("x", values),)).has_numbers == any_number


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("object",), "0 objects"),
        (1, ("object",), "1 object"),
        (2, ("object",), "2 objects"),
        (1234, ("box", "boxes"), "1,234 boxes"),
        (1, ("box", "boxes"), "1 box"),
    ],
)
def test_counted(number, words, text):
    assert counted(number, *words) == text


def test_the_highest_of_a_level_is_marked(methods):
    assert level_table(methods).lower == ()
    assert level_table({"low": methods["ours | new"]}, "miou").lower == ()
    assert summary_table(methods).lower == ()


def test_values_of_each_instance(methods):
    values, categories = methods["visible only"].instances("instance_miou") or methods["visible only"].instances("miou")
    assert sorted(values.tolist()) == [0.5, 0.5] and sorted(categories.tolist()) == [CHAIR, RIFLE]
    assert methods["visible only"].instances("no such metric") is None


def test_columns_of_markdown_are_left_aligned_unless_told():
    assert markdown_table(("a", "b"), [("1", "x|y"), ("2\n3", "")]) == (
        "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n| 2 3 |  |\n"
    )
    assert markdown_table(("a", "b"), [], ("---", "---:")) == "| a | b |\n| --- | ---: |\n"


def test_instances_are_told_for_single_metrics_alone(methods):
    table = methods["visible only"]
    assert table.instances("miou") is not None and table.instances("occluded_miou") is not None
    assert table.instances("micro_miou") is None
