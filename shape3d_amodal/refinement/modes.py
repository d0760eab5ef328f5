"""The ways to refine a silhouette, and which of them trained weights can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from shape3d_amodal.errors import UsageError, check_choice

Refine = Literal["none", "visible-union", "2d", "full"]
"""``full``: stage 5; ``2d``: stage 5 without silhouettes, which makes no meshes; ``visible-union``: the silhouette
joined with the visible mask and cut to the possible pixels; ``none``: the bare silhouette."""


def check_refine(refine: object) -> None:
    """
    Raises:
        UsageError: it is none of ``Refine``.
    """
    check_choice("refine", refine, get_args(Refine))


def default_refine(learned: Sequence[str]) -> Refine:
    """What weights were trained for whose refinement has ``learned`` to use these priors: without any, 2d alone."""
    return "full" if learned else "2d"


def check_learned(names: Sequence[str], learned: Sequence[str]) -> None:
    """Refuse priors that the refinement of weights has not ``learned`` to use: they may never have been trained.

    Raises:
        UsageError: naming the first.
    """
    if not learned:
        raise UsageError("refine: the refinement of these weights has learned to use no prior; leave refine out, or 2d")
    for name in names:
        if name not in learned:
            problem = f"the refinement of these weights has not learned to use {name}; take {', '.join(learned)}"
            raise UsageError(f"priors: {problem}")
