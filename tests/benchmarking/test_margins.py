"""How far a method is ahead: by hand, with the narrow intervals that pairs give."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.benchmarking.config import MarginConfig
from shape3d_amodal.benchmarking.margins import margin_table, margins
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric

SHARE = Metric("share", "Share", "f", "p", "s")
CAR, CHAIR = [0.2, 0.8, 0.5, 0.9], [0.1, 0.3, 0.5, 0.7]
BETTER = MarginConfig(of="ours", over=("first", "second"))


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
    car, chair, mean, without = margins(TABLES, BETTER, SHARE, without=("chair",))
    assert [row.label for row in (car, chair, mean, without)] == ["car", "chair", "mean", "mean without chair"]
    assert [row.other for row in (car, chair, mean, without)] == ["first", "second", "first", "first"]
    assert car.points == pytest.approx(5) and chair.points == pytest.approx(-2)
    assert (car.own, car.best) == (pytest.approx(65), pytest.approx(60))
    # ours 65 and 38, first 60 and 30
    assert mean.points == pytest.approx((65 + 38) / 2 - (60 + 30) / 2) and without.points == pytest.approx(5)


def test_what_is_better_for_every_instance_has_a_narrow_interval():
    """The instances differ by much, the two methods by the same on each of them."""
    car, *_ = margins(TABLES, BETTER, SHARE)
    assert (car.interval.low, car.interval.high) == (pytest.approx(5), pytest.approx(5))
    uneven = {**TABLES, "ours": table([0.9, 0.1, 0.5, 0.9], CHAIR)}
    row, *_ = margins(uneven, MarginConfig(of="ours", over=("first",)), SHARE)
    assert row.points == pytest.approx(0) and row.interval.low < -20 and row.interval.high > 20


def test_the_title_says_where_it_is_least():
    rows = margins(TABLES, BETTER, SHARE, without=("chair",))
    shown = margin_table(rows, BETTER, SHARE)
    assert shown.title == "Share, ours over the best of first, second, points; least in chair, -2.0"
    assert shown.rows[1][0] == "chair (second)" and shown.columns[:3] == ("ours", "best other", "margin")
    assert shown.summary == ("mean (first)", "mean without chair (first)")
    one = MarginConfig(of="ours", over=("first",))
    assert margin_table(margins(TABLES, one, SHARE), one, SHARE).title.startswith("Share, ours over first, points")


def test_undefined_categories_are_left_out():
    nan = float("nan")
    tables = {name: table(CAR, [nan] * 4) for name in ("first", "second", "ours")}
    assert [row.label for row in margins(tables, BETTER, SHARE)] == ["car", "mean"]
