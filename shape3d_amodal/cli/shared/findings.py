"""What ``doctor`` finds, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "optional", "missing", "damaged", "low"]


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``remedy`` says what to do where ``state`` is not ok."""

    state: State
    name: str
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.name:<17} {self.detail}{f': {self.remedy}' if self.remedy else ''}"
