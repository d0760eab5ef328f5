"""The conditions of the numbers of a benchmark: code, machine, data and methods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pydantic_core import to_jsonable_python

from shape3d_amodal.benchmarking import provenance
from shape3d_amodal.benchmarking.methods import KINDS, MethodOptions, options_class
from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.benchmarking.store import RunRecord
from shape3d_amodal.evaluation.tables import counted

Facts = list[tuple[str, str]]


def protocol(one: RunScores) -> str:
    """Under which conditions the numbers of a run were taken."""
    table = one.tables[one.run.focus]
    scored = counted(table.score.counts["instances"], "object")
    images = counted(len(one.data.dataset.images), "image")
    aligned = f" 'Aligned elsewhere' is by the turns found on the data {one.run.align!r}." if one.run.align else ""
    return f"Protocol: {table.protocol}. {scored} in {images}.{aligned}"


def facts_of(scores: Sequence[RunScores], command: str, *, notes: bool = True) -> Facts:
    """The conditions of the numbers: ``command``, code, machine, data and methods, each of them once.

    Args:
        notes: with the notes of the methods, for a report that does not show them elsewhere.
    """
    facts = [("command", command), ("commit", provenance.commit())]
    facts += [("versions", provenance.versions()), ("machine", provenance.machine())]
    data = {one.data.name: one.data for one in scores}
    data.update({one.aligned.name: one.aligned for one in scores if one.aligned is not None})
    facts += [(f"data: {name}", f"{one.origin}; SHA-256 {one.sha256[:16]}") for name, one in data.items()]
    methods = {name: method.options for one in scores for name, method in one.methods.items()}
    for name, options in methods.items():
        note = f"{options.note}; " if options.note and notes else ""
        facts.append((f"method: {name}", note + _told(options)))
    if methods:
        facts.append(("run", _ran(scores)))
    facts.append(("time of an object", "median over images of the time of an image by the number of its objects"))
    return facts


def _told(options: MethodOptions) -> str:
    """What a method is and what it was told."""
    kind = next(kind for kind in KINDS if type(options) is options_class(kind))
    chosen = {key: value for key, value in _chosen(options).items() if key not in (*options.TOLD, "depth_order")}
    order = "depth order given" if options.depth_order else "depth order not given"
    return "; ".join([kind, *(f"{key} {json.dumps(value)}" for key, value in chosen.items()), order])


def _ran(scores: Sequence[RunScores]) -> str:
    """How methods ran; which of them are meant is told where they did not all run alike."""
    ways: dict[str, list[str]] = {}
    for one in scores:
        for name, method in one.methods.items():
            ways.setdefault(_way(method.record), []).append(f"{one.run.title}: {name}")
    if len(ways) == 1:
        return next(iter(ways))
    return "; ".join(f"{way} ({'; '.join(names)})" for way, names in ways.items())


def _way(run: RunRecord | None) -> str:
    if run is None:
        return "elsewhere"
    machine = f" of {run.machine}" if run.machine != provenance.machine() else ""
    return f"{run.threads} thread(s) in {run.processes} process(es) on {run.device}{machine}, commit {run.commit}"


def _chosen(options: MethodOptions) -> dict[str, Any]:
    """The options that are names, such as weights, and those that are not at their defaults, as JSON values."""
    chosen = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if value != "" and (value != field.default or isinstance(value, str)):
            chosen[field.name] = to_jsonable_python(value)
    return chosen
