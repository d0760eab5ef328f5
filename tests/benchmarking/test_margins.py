"""How far a method is ahead: by hand, with the narrow intervals that pairs give."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.benchmarking.config import MarginConfig
from shape3d_amodal.benchmarking.margins import margin_table, margins
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.reports.benchmark.margin_lines import by_category, caption, summary

SHARE = Metric("share", "Share", "f", "p", "s")
CAR, CHAIR = [0.2, 0.8, 0.5, 0.9], [0.1, 0.3, 0.5, 0.7]
BETTER = ("ours", ("first", "second"))


def table(car: list[float], chair: list[float]) -> MeanTable:
    values = np.array(car + chair)
    categories = np.repeat([1, 2], [len(car), len(chair)])
    return MeanTable("p", (SHARE,), {1: "car", 2: "chair"}, categories, {"share": values}, np.zeros(len(values), bool))


def moved(values: list[float], by: float) -> list[float]:
    return [value + by for value in values]


TABLES = {
    "first": table(CAR, moved(CHAIR, -0.1)),
    "second": table(moved(CAR, -0.2), CHAIR),
    "ours": table(moved(CAR, 0.05), moved(CHAIR, -0.02)),
    "other": table([1.0] * 4, [1.0] * 4),
}


def test_each_category_is_compared_with_the_best_in_it():
    car, chair, mean, without = margins(TABLES, *BETTER, SHARE, without=("chair",))
    assert [row.label for row in (car, chair, mean, without)] == ["car", "chair", "mean", "mean without chair"]
    assert [row.other for row in (car, chair, mean, without)] == ["first", "second", "first", "first"]
    assert car.points == pytest.approx(5) and chair.points == pytest.approx(-2)
    assert (car.own, car.best) == (pytest.approx(65), pytest.approx(60))
    # ours 65 and 38, first 60 and 30
    assert mean.points == pytest.approx((65 + 38) / 2 - (60 + 30) / 2) and without.points == pytest.approx(5)


def test_what_is_better_for_every_instance_has_a_narrow_interval():
    """The instances differ by much, the two methods by the same on each of them."""
    car, *_ = margins(TABLES, *BETTER, SHARE)
    assert (car.interval.low, car.interval.high) == (pytest.approx(5), pytest.approx(5))
    uneven = {**TABLES, "ours": table([0.9, 0.1, 0.5, 0.9], CHAIR)}
    row, *_ = margins(uneven, "ours", ("first",), SHARE)
    assert row.points == pytest.approx(0) and row.interval.low < -20 and row.interval.high > 20


def test_one_object_has_no_interval():
    """Neither in its category, nor in a mean over categories of one object each."""
    single = {"ours": table([0.5], [0.9]), "first": table([0.4], [0.7])}
    rows = margins(single, "ours", ("first",), SHARE)
    assert [row.points for row in rows] == pytest.approx([10, 20, 15])
    assert all(np.isnan([row.interval.low, row.interval.high]).all() for row in rows)
    car, chair, mean = margins(
        {"ours": table([0.5], [0.9, 0.8]), "first": table([0.4], [0.7, 0.1])}, "ours", ("first",), SHARE
    )
    assert np.isnan(car.interval.low) and chair.interval.low < chair.interval.high
    assert mean.interval.low < mean.interval.high


def test_the_title_says_where_it_is_least():
    rows = margins(TABLES, *BETTER, SHARE, without=("chair",))
    shown = margin_table(rows, MarginConfig(of="ours", over=("first", "second")), SHARE)
    assert shown.title == "Share, ours over the best of first; second, points; least in chair, -2.0"
    assert shown.rows[1][0] == "chair (second)" and shown.columns[:3] == ("ours", "best other", "margin")
    assert shown.summary == ("mean (first)", "mean without chair (first)")


def test_a_single_other_is_named_once():
    one = MarginConfig(of="ours", over=("first",))
    shown = margin_table(margins(TABLES, one.of, one.over, SHARE), one, SHARE)
    assert shown.title.startswith("Share, ours over first, points")
    assert shown.columns[:2] == ("ours", "first") and [name for name, _ in shown.rows] == ["car", "chair", "mean"]


def test_over_none_are_the_numbers_themselves():
    car, chair, mean = margins(TABLES, "ours", (), SHARE)
    assert [row.points for row in (car, chair, mean)] == pytest.approx([65, 38, (65 + 38) / 2])
    assert car.other == "" and 25 < car.interval.low < 65 < car.interval.high < 95


def test_undefined_categories_are_left_out():
    nan = float("nan")
    tables = {name: table(CAR, [nan] * 4) for name in ("first", "second", "ours")}
    assert [row.label for row in margins(tables, *BETTER, SHARE)] == ["car", "mean"]


class Known(MeanTable):
    """With annotation ids 1, 2, ..."""

    def ids(self):
        return np.arange(1, len(self.categories) + 1)


def views(values: list[float]) -> Known:
    """Three cars' worth of views, and two views of one chair."""
    categories = np.array([1] * 6 + [2] * 2)
    return Known("p", (SHARE,), {1: "car", 2: "chair"}, categories, {"share": np.array(values)}, np.zeros(8, bool))


def test_meshes_are_drawn_and_not_their_views():
    """Views of a mesh are equally far ahead: twice as many of them tell nothing new. The chair has its views alone."""
    tables = {"ours": views([0.1, 0.1, 0.2, 0.2, 0.6, 0.6, 0.2, 0.4]), "none": views([0.0] * 8)}
    meshes = dict(zip(range(1, 9), "aabbccdd", strict=True))
    car, chair, _ = margins(tables, "ours", ("none",), SHARE, meshes=meshes)
    # Of 27 draws of three cars one is all a and one all c, 3.7 % each: the interval reaches from one to the other.
    assert (car.interval.low, car.interval.high) == (pytest.approx(10), pytest.approx(60))
    assert (chair.interval.low, chair.interval.high) == (pytest.approx(20), pytest.approx(40))
    alone, *_ = margins(tables, "ours", ("none",), SHARE)
    assert alone.interval.low > 10 and alone.interval.high < 60
    some = {key: meshes[key] for key in range(1, 8)}
    assert margins(tables, "ours", ("none",), SHARE, meshes=some)[0].interval == alone.interval, "one is not known"


def test_lines_of_several_others_and_of_one():
    several = MarginConfig(of="ours", over=("first", "second"))
    found = [(SHARE, margins(TABLES, *BETTER, SHARE, without=("chair",)))]
    head, rule, line = summary(several, found).split("\n\n")[1].splitlines()
    assert summary(several, found).startswith("**ours** over the best of first; second\n\n| points |")
    assert head == "| points | mean | mean without chair | least category |" and rule.count("---") == 4
    assert "| +5.0 (5.0 to 5.0), over first |" in line and line.endswith("| chair -2.0 (-2.0 to -2.0), over second |")
    single = MarginConfig(of="ours", over=("first",))
    found = [(SHARE, margins(TABLES, "ours", ("first",), SHARE))]
    assert "over" not in summary(single, found).split("\n\n")[1]
    folded = by_category(single, found, {"car": 3, "chair": 1})
    assert "\n\n| category, points | Share |\n" in folded and "\n| car (3) | +5.0 (5.0 to 5.0) |\n" in folded


def test_the_caption_says_what_was_drawn():
    assert "over objects drawn" in caption({})
    assert "over meshes drawn" in caption({"car": 3}) and "single" not in caption({"car": 3})
    assert "a single mesh (bench, phone) views are drawn" in caption({"car": 3, "bench": 1, "phone": 1})
