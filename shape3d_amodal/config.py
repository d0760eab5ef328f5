"""Configuration: YAML files checked against frozen dataclasses; unknown keys and wrong types are refused.

A component declares its options beside itself::

    @configuration
    class FitConfig:
        steps: int = 30

Options that do not fit each other are refused in ``__post_init__``, by a ``UsageError`` that names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _pydantic_dataclass
from typing_extensions import dataclass_transform

from shape3d_amodal.errors import UsageError

T = TypeVar("T")

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def configuration(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen, keyword-only dataclass whose values are type-checked and whose unknown keys are errors."""
    options = ConfigDict(extra="forbid", strict=False, use_attribute_docstrings=True)
    return cast(type[T], _pydantic_dataclass(frozen=True, kw_only=True, config=options)(cls))


def load_config(path: str | Path, cls: type[T], *, overrides: Sequence[str] = ()) -> T:
    """Read the YAML file ``path`` as a ``cls``, with ``overrides`` such as ``loop.steps=100`` put over it.

    Raises:
        UsageError: the file is missing, is no YAML mapping, or has an unknown key or a wrong value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot read the configuration: {getattr(error, 'strerror', error)}") from error
    return parse_config(text, cls, source=str(path), overrides=overrides)


def parse_config(text: str, cls: type[T], *, source: str = "configuration", overrides: Sequence[str] = ()) -> T:
    """Read YAML text as a ``cls``, with ``overrides`` put over it; ``source`` names it in errors.

    Raises:
        UsageError: as for ``load_config``.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{source}: expected a mapping of options, got {type(raw).__name__}")
    for override in overrides:
        _put(raw, override)
    return from_mapping(raw, cls, source=source)


def from_mapping(raw: dict[str, Any], cls: type[T], *, source: str) -> T:
    """Check ``raw`` (as YAML gives it) as a ``cls``; ``source`` names it in errors.

    Raises:
        UsageError: an unknown key or a wrong value.
    """
    raw = _over(_group_defaults(cls), raw)
    try:
        return TypeAdapter(cls).validate_python(raw)
    except UsageError as error:  # options that do not fit each other
        raise UsageError(f"{source}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = ""
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = "; this key is not known, see --help or the shipped configs"
        raise UsageError(f"{source}: {place}: {first['msg'].lower()}{known}") from error


def _group_defaults(cls: type[Any]) -> dict[str, Any]:
    """The defaults of the options that are groups themselves: a group that is given in part keeps the rest of them."""
    groups = {field.name: field.default for field in fields(cls)}
    return {
        name: asdict(group) for name, group in groups.items() if is_dataclass(group) and not isinstance(group, type)
    }


def _over(default: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``given`` put over ``default``, group by group."""
    merged = dict(default)
    for key, value in given.items():
        below = default.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _put(raw: dict[str, Any], override: str) -> None:
    """Set one option, ``a.b.c=value`` (the value in YAML), in nested mappings."""
    path, equals, value = override.partition("=")
    if not (path and equals):
        raise UsageError(f"expected an override such as loop.steps=100, got {override!r}")
    *parents, last = path.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise UsageError(f"override {override!r}: {parent} is not a group of options")
    try:
        raw[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"override {override!r}: the value is not valid YAML") from error


def dump_config(config: Any) -> str:
    """The YAML text that ``load_config`` reads back to an equal ``config``."""
    plain = TypeAdapter(type(config)).dump_python(config, mode="json")
    return yaml.safe_dump(plain, sort_keys=False)
