"""Files of meshes that are not read, known by their names, so that none is left out without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shape3d_amodal.meshes.parsers import PARSERS

OTHER_SUFFIXES = (
    ".stl", ".gltf", ".dae", ".fbx", ".3ds", ".3mf", ".usd", ".usda", ".usdc", ".usdz", ".x3d", ".wrl", ".blend",
    ".step", ".stp", ".iges", ".igs",
)  # fmt: skip
PACKED_SUFFIXES = tuple(suffix + packed for suffix in PARSERS for packed in (".gz", ".zip"))
OTHER = "not a format that is read; convert it to .glb or .obj"
PACKED = "a packed file, which is not read; unpack it"


def why_not_read(name: str) -> str | None:
    """Why a file of that ``name`` is not read though it is a mesh; None where it is read, or is no mesh."""
    small = name.lower()
    if small.endswith(PACKED_SUFFIXES):
        return PACKED
    return OTHER if small.endswith(OTHER_SUFFIXES) else None


def is_unread(why: str) -> bool:
    """Whether ``why`` something was skipped is a reason of ``why_not_read``."""
    return why in (OTHER, PACKED)


def told_unread(skipped: Mapping[str, str]) -> str:
    """For a message: the meshes in ``skipped`` that are not read, by their suffixes, and what to do with them."""
    parts = []
    for reason, suffixes, remedy in ((OTHER, OTHER_SUFFIXES, "convert"), (PACKED, PACKED_SUFFIXES, "unpack")):
        names = [name.lower() for name, why in skipped.items() if why == reason]
        kinds = Counter(suffix for name in names for suffix in suffixes if name.endswith(suffix))
        if kinds:
            found = " and ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))
            parts.append(f"; {found} cannot be read; {remedy} {'it' if kinds.total() == 1 else 'them'}")
    return "".join(parts)
