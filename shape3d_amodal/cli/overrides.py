"""The option ``--set``: changes of a configuration, several at once (``--set a=1 b=2``) or in several ``--set``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import tyro

Overrides: TypeAlias = Annotated[
    tuple[tuple[str, ...], ...], tyro.conf.arg(name="set", metavar="KEY=VALUE [...]"), tyro.conf.UseAppendAction
]


def flat(overrides: Overrides) -> tuple[str, ...]:
    """All changes in the order in which they were given."""
    return tuple(change for group in overrides for change in group)
