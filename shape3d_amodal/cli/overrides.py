"""The option ``--set``: changes to a configuration, several at once (``--set a=1 b=2``), and as often as is liked."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import tyro

Overrides: TypeAlias = Annotated[
    tuple[tuple[str, ...], ...], tyro.conf.arg(name="set", metavar="KEY=VALUE [...]"), tyro.conf.UseAppendAction
]


def flat(overrides: Overrides) -> tuple[str, ...]:
    """All changes in their order."""
    return tuple(change for group in overrides for change in group)
