"""Configuration: YAML files checked against frozen dataclasses; unknown keys and wrong types are refused.

A component declares its options beside itself::

    @configuration
    class FitConfig:
        steps: int = 30
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _pydantic_dataclass
from typing_extensions import dataclass_transform

from shape3d_amodal.errors import UsageError

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def configuration(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen, keyword-only dataclass whose values are type-checked and whose unknown keys are errors."""
    options = ConfigDict(extra="forbid", strict=False, use_attribute_docstrings=True)
    return cast(type[T], _pydantic_dataclass(frozen=True, kw_only=True, config=options)(cls))


def load_config(path: str | Path, cls: type[T]) -> T:
    """Read the YAML file ``path`` as a ``cls``.

    Raises:
        UsageError: the file is missing, is no YAML mapping, or has an unknown key or a wrong value.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return parse_config(raw, cls, source=str(path))


def parse_config(raw: Any, cls: type[T], *, source: str = "configuration") -> T:
    """Check ``raw`` (what YAML or JSON gave) against ``cls``; ``source`` names the file in errors."""
    if not isinstance(raw, dict):
        raise UsageError(f"{source}: expected a mapping of options, got {type(raw).__name__}")
    try:
        return TypeAdapter(cls).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = ""
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = "; this key is not known, see --help or the shipped configs"
        raise UsageError(f"{source}: {place}: {first['msg'].lower()}{known}") from error


def dump_config(config: Any) -> str:
    """The YAML text that ``load_config`` reads back to an equal ``config``."""
    plain = TypeAdapter(type(config)).dump_python(config, mode="json")
    return yaml.safe_dump(plain, sort_keys=False)
