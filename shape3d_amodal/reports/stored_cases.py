"""Cases of a report as JSON values, so that they can be kept until the report is written."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from shape3d_amodal.reports.html import CaseGroup, EncodedImage, Panel, ReportCase, encoded


def to_values(group: CaseGroup) -> dict[str, Any]:
    """A group of cases as JSON values, its images encoded."""
    cases = [
        replace(case, panels=tuple(replace(panel, image=encoded(panel.image)) for panel in case.panels))
        for case in group.cases
    ]
    values = asdict(replace(group, cases=tuple(cases)))
    for case in values["cases"]:
        if math.isnan(case["score"]):  # JSON knows none
            del case["score"]
    return values


def from_values(values: dict[str, Any]) -> CaseGroup:
    """The group that ``to_values`` was given, its images encoded."""
    return CaseGroup(**{**values, "cases": tuple(map(_case, values["cases"]))})


def _case(values: dict[str, Any]) -> ReportCase:
    # A colour, like other small sequences, comes back from JSON as a list.
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    fields["panels"] = tuple(Panel(**{**panel, "image": EncodedImage(**panel["image"])}) for panel in values["panels"])
    return ReportCase(**fields)
