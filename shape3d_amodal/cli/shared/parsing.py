"""How the parser reads options that need not be given."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any, get_args

from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

REGISTRY = ConstructorRegistry()
"""The rules of our command line."""


@REGISTRY.primitive_rule
def _or_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | UnsupportedTypeAnnotationError | None:
    """``X | None`` is read as X: None stands for an option that is not given, and is nothing to type or to choose."""
    kinds = get_args(info.type)
    if NoneType not in kinds:
        return None
    kind: Any = reduce(or_, (one for one in kinds if one is not NoneType))
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    if isinstance(spec, UnsupportedTypeAnnotationError):
        return spec
    told = spec.str_from_instance
    return replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: ["not", "given"] if value is None else told(value),  # for --help
    )
