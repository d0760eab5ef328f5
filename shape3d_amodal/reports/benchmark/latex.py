"""Tables for papers: LaTeX with the package booktabs."""

from __future__ import annotations

from shape3d_amodal.evaluation.tables import MISSING, Table

_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", MISSING: "--",
}  # fmt: skip


def to_latex(table: Table) -> str:
    """``table`` as a floating table, the best numbers bold, a rule before the rows that sum up the others."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        _row([table.corner, *table.columns]),
        r"\midrule",
    ]
    summed = False
    for (name, _), cells, marks in zip(table.rows, table.cells(), table.best(), strict=True):
        if name in table.summary and not summed:
            lines.append(r"\midrule")
            summed = True
        values = [
            rf"\textbf{{{escape(cell)}}}" if mark else escape(cell) for cell, mark in zip(cells, marks, strict=True)
        ]
        lines.append(" & ".join([escape(name), *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape(text: str) -> str:
    """``text`` with LaTeX's own signs written so that they are shown."""
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def _row(texts: list[str]) -> str:
    return " & ".join(map(escape, texts)) + r" \\"
