"""A trial of a network on made-up samples before data are made: options that do not fit each other fail here, by name.

Libraries refuse what does not fit in words of their own, deep inside a network. Which option is at fault shows when
one after another is set back to its default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch

from shape3d_amodal.errors import AmodalError, UsageError

Config = TypeVar("Config")

_OF_THE_MACHINE = (MemoryError, ImportError, OSError, torch.cuda.OutOfMemoryError)
"""No option of a network is at fault where memory, a library or a file is missing."""


def try_out(config: Config, attempt: Callable[[Config], object], groups: Sequence[str]) -> None:
    """Call ``attempt`` with ``config``. The random state stays as it is.

    Args:
        groups: the options of ``config`` that matter for the attempt; groups of options stand for all that is in them.

    Raises:
        UsageError: the attempt fails; the message names each option that, set back to its default, lets it succeed.
        AmodalError, MemoryError, ImportError, OSError: whatever of that kind the attempt raises.
    """
    error = _failure(config, attempt)
    if error is None:
        return
    problem = _in_one_line(error)
    changed = [one for one in _changed(config) if one[0].partition(".")[0] in groups]
    culprits = [(name, value) for name, value, default in changed if _helps(config, name.split("."), default, attempt)]
    named = ", ".join(f"{name}={value}" for name, value in culprits[:4])
    if not culprits:
        raise UsageError(
            f"{' or '.join(groups)}: these options cannot be used together ({problem}); change some"
        ) from error
    if len(culprits) == 1:
        raise UsageError(f"{named} cannot be used ({problem}); change it") from error
    raise UsageError(f"{named} cannot be used together ({problem}); change one of them") from error


def _failure(config: Config, attempt: Callable[[Config], object]) -> Exception | None:
    """What the attempt raises where options may be at fault; None if it succeeds. Other errors get through."""
    with torch.random.fork_rng(devices=[]):
        try:
            attempt(config)
        except (AmodalError, *_OF_THE_MACHINE):
            raise
        except Exception as error:  # of any library
            return error
    return None


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160]


def _helps(config: Any, path: list[str], default: Any, attempt: Callable[[Any], object]) -> bool:
    try:
        return _failure(_with(config, path, default), attempt) is None
    except AmodalError:  # the default does not go with the other options, either
        return False


def _changed(value: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value and default of the options in ``value`` that differ from their defaults."""
    if isinstance(value, dict):
        yield from ((f"{prefix}{key}", one, MISSING) for key, one in value.items())
        return
    for field in fields(value):
        one, default = getattr(value, field.name), field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        if is_dataclass(one) or isinstance(one, dict):
            yield from _changed(one, f"{prefix}{field.name}.")
        elif default is not MISSING and one != default:
            yield f"{prefix}{field.name}", one, default


def _with(value: Any, path: list[str], new: Any) -> Any:
    """``value`` with another one at ``path``; MISSING takes the key out of a mapping."""
    key, *rest = path
    if isinstance(value, dict):
        others = {name: one for name, one in value.items() if name != key}
        if not rest and new is MISSING:
            return others
        return {**others, key: _with(value[key], rest, new) if rest else new}
    return replace(value, **{key: _with(getattr(value, key), rest, new) if rest else new})
