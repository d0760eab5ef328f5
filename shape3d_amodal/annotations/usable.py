"""How many objects of a data set can be learned from or scored, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shape3d_amodal import masks
from shape3d_amodal.errors import counted
from shape3d_amodal.structures import AmodalInstance


@dataclass(frozen=True)
class ObjectCounts:
    """Counts of objects; one that belongs to several kinds counts as the first of them.

    Attributes:
        objects: all of them.
        crowds: marked ``iscrowd``.
        ignored: marked ``ignore``.
        hidden: without a visible pixel.
        visible_only: without an amodal mask.
    """

    objects: int
    crowds: int
    ignored: int
    hidden: int
    visible_only: int

    @property
    def usable(self) -> int:
        """Objects to learn from and to score: neither crowds nor ignored (which concerns scores alone) nor hidden."""
        return self.objects - self.crowds - self.ignored - self.hidden

    def __str__(self) -> str:
        kinds = {
            ("is a crowd (iscrowd 1)", "are crowds (iscrowd 1)"): self.crowds,
            ("is marked ignore", "are marked ignore"): self.ignored,
            ("is fully hidden", "are fully hidden"): self.hidden,
            ("has no amodal mask", "have no amodal mask"): self.visible_only,
        }
        told = ", ".join(counted(number, *kind) for kind, number in kinds.items() if number)
        remedy = "; give each crowd that is one object iscrowd 0" if self.crowds else ""
        every = counted(self.objects, "object")
        return f"of {every} {told}{remedy}" if told else f"there {'is' if self.objects == 1 else 'are'} {every}"


def count_objects(objects: Iterable[AmodalInstance]) -> ObjectCounts:
    """The counts of ``objects``."""
    every, crowds, ignored, hidden, visible_only = 0, 0, 0, 0, 0
    for one in objects:
        every += 1
        if one.crowd:
            crowds += 1
        elif one.ignore:
            ignored += 1
        elif masks.area(one.visible) == 0:
            hidden += 1
        elif one.amodal is None:
            visible_only += 1
    return ObjectCounts(every, crowds, ignored, hidden, visible_only)


def not_scored(objects: Iterable[AmodalInstance], *, visible: bool = False) -> str:
    """Of which ``objects`` no whole mask is scored, for a line of text; empty where all are.

    For example "3 of 8 objects not scored: 2 crowds (iscrowd 1), 1 without an amodal mask". One that belongs to several
    kinds counts as the first of them.

    Args:
        visible: the visible mask is scored even where there is no amodal one.
    """
    every = tuple(objects)
    crowds = sum(one.crowd for one in every)
    ignored = sum(one.ignore and not one.crowd for one in every)
    unknown = sum(one.amodal is None and not one.ignore and not one.crowd for one in every)
    kinds = [counted(crowds, "crowd") + " (iscrowd 1)"] if crowds else []
    kinds += [f"{ignored} marked ignore"] if ignored else []
    kinds += [f"{unknown} without an amodal mask{' (but for the visible one)' if visible else ''}"] if unknown else []
    return (
        f"{crowds + ignored + unknown} of {counted(len(every), 'object')} not scored: {', '.join(kinds)}"
        if kinds
        else ""
    )
