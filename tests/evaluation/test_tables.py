from __future__ import annotations

import math

import pytest
from drawn import CATEGORIES, dataset, drawn, instance, result
from scoring import evaluate_completion

from shape3d_amodal.evaluation.tables import Table, category_table, level_table, summary_table

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
    assert levels.columns == ("none (0)", "partial (0)", "heavy (2)")
    assert levels.rows[0][1][2] == 50


def test_where_the_lowest_number_is_the_best():
    table = Table(
        title="", corner="", columns=("error", "share"), rows=(("x", (1.0, 2.0)), ("y", (3.0, 3.0))), lower=("error",)
    )
    assert table.best() == [[True, False], [False, True]]
    assert table.transposed().best() == [[True, False], [False, True]]
