"""Which mutants a file has: small changes that some test should notice. ``mutation.py`` tries them.

Most kinds are cosmic-ray's; ``ScaledFloat`` and ``DroppedCall`` are added, as ``x + 1`` says little of thresholds and
cosmic-ray leaves calls as they are. Left out by rule, since they say nothing about results: annotations, decorators,
the texts of errors (all of a ``raise``), log lines, the defaults of options (``@configuration`` classes: trainings set
them in YAML, shipped weights carry their own) and ``strict=`` of ``zip``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import parso.python.tree  # before cosmic_ray, which otherwise imports it in a circle
from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.number_replacer import NumberReplacer
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

_BINARY = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_FloorDiv", "Pow_Mul")
_BINARY += ("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitAnd")
_COMPARISON = ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")
_COMPARISON += ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
_OTHER = ("ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_Invert")
_OTHER += ("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd")
_OTHER += ("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop")
_DROPPED = {
    "abs",
    "clamp",
    "minimum",
    "maximum",
    "clip",
    "square",
    "sqrt",
    "relu",
    "sigmoid",
    "detach",
    "flip",
    "logit",
}
_GUARD = 1e-4
"""Smaller numbers only keep a division finite, whatever they are."""
_Place = tuple[int, int]
_NOWHERE: tuple[_Place, _Place] = ((0, 0), (0, 0))
_STARS = {"parameters", "param", "argument", "arglist", "lambdef", "star_expr", "dictorsetmaker", "atom"}
"""In these a star is no product."""


class _ChangedInteger(NumberReplacer):
    """cosmic-ray's, of whole numbers alone: one more, one less."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[_Place, _Place]]:
        if node.type == "number" and isinstance(ast.literal_eval(node.value), int):
            yield from super().mutation_positions(node)


class _ScaledFloat(Operator):
    """0.7 of a number."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[_Place, _Place]]:
        if node.type == "number" and isinstance(ast.literal_eval(node.value), float) and float(node.value) > _GUARD:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002
        return parso.python.tree.Number(f" {ast.literal_eval(node.value) * 0.7!r}", node.start_pos)

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class _DroppedCall(Operator):
    """``x.clamp(min=1)`` as ``x``."""

    def mutation_positions(self, node: Any) -> list[tuple[_Place, _Place]]:
        return [(node.children[i].start_pos, node.children[i + 1].end_pos) for i in self._calls(node)]

    def mutate(self, node: Any, index: int) -> Any:
        i = self._calls(node)[index]
        del node.children[i : i + 2]
        return node

    @staticmethod
    def _calls(node: Any) -> list[int]:
        """Where in a chain of trailers there is a name to drop, with its arguments behind it."""
        if node.type not in ("atom_expr", "power"):
            return []
        codes = [child.get_code() for child in node.children]
        named = [i for i in range(1, len(codes) - 1) if codes[i][1:] in _DROPPED and codes[i + 1][0] == "("]
        return [] if codes[0] in ("np", "torch") else [i for i in named if codes[i][0] == "."]

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


@dataclass(frozen=True)
class Mutant:
    """The ``occurrence``-th place of a kind in a file."""

    kind: str
    occurrence: int
    line: int
    column: int


def mutants(source: str) -> list[Mutant]:
    """All mutants of a file, from top to bottom."""
    tree, left_out = get_ast(source), _left_out(source)
    found = []
    for kind, operator in _operators().items():
        for occurrence, (begin, end) in enumerate(_Places(operator).of(tree)):
            if (begin, end) != _NOWHERE and not any(first <= begin and end <= last for first, last in left_out):
                found.append(Mutant(kind, occurrence, *begin))
    return sorted(found, key=lambda one: (one.line, one.column, one.kind, one.occurrence))


def mutated(source: str, mutant: Mutant) -> str:
    """The file with that change."""
    code: str = mutate_code(source, _operators()[mutant.kind], mutant.occurrence)
    return code


def functions(source: str, names: set[str]) -> list[tuple[int, int]]:
    """First and last lines of the functions of these names."""
    nodes = ast.walk(ast.parse(source))
    return [(n.lineno, n.end_lineno or 0) for n in nodes if isinstance(n, ast.FunctionDef) and n.name in names]


class _Places(Visitor):  # type: ignore[misc]
    """Places of an operator, counted as ``mutate_code`` counts them."""

    def __init__(self, operator: Operator) -> None:
        self.operator, self.found = operator, []  # type: ignore[var-annotated]

    def of(self, tree: Any) -> list[tuple[_Place, _Place]]:
        self.walk(tree)
        return self.found

    def visit(self, node: Any) -> Any:
        places = list(self.operator.mutation_positions(node))
        star = node.parent is not None and node.parent.type in _STARS and node.type == "operator"
        self.found += [_NOWHERE] * len(places) if star else places
        return node


def _operators() -> dict[str, Operator]:
    names = [f"ReplaceBinaryOperator_{name}" for name in _BINARY]
    names += [f"ReplaceComparisonOperator_{name}" for name in _COMPARISON]
    theirs = {name.removeprefix("Replace"): get_operator(f"core/{name}")() for name in (*names, *_OTHER)}
    return {**theirs, "Integer": _ChangedInteger(), "ScaledFloat": _ScaledFloat(), "DroppedCall": _DroppedCall()}


def _left_out(source: str) -> list[tuple[_Place, _Place]]:
    """Begin and end of what is not changed."""
    nodes: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            nodes += node.decorator_list
        if isinstance(node, ast.FunctionDef) and node.returns:
            nodes.append(node.returns)
        if isinstance(node, ast.ClassDef) and any("configuration" in ast.unparse(one) for one in node.decorator_list):
            nodes += [one.value for one in node.body if isinstance(one, ast.AnnAssign) and one.value]
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            nodes.append(node.annotation)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes.append(node)
        if isinstance(node, ast.Raise) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            nodes.append(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("_LOG.", "logger.", "warnings.")):
            nodes.append(node)
    lines = source.splitlines()

    def characters(line: int, octets: int) -> _Place:
        return line, len(lines[line - 1].encode()[:octets].decode())

    return [(characters(n.lineno, n.col_offset), characters(n.end_lineno, n.end_col_offset)) for n in nodes]  # type: ignore[attr-defined]
