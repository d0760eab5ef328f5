"""Configurations: YAML files that are checked against frozen dataclasses; unknown keys and wrong types are errors.

A component declares its options beside itself, each with a text that ``train --print-config`` shows::

    @configuration
    class FitConfig:
        steps: int = 30
        '''Gradient steps on shape and viewpoint.'''

Options that do not fit each other are refused in ``__post_init__``, by a ``UsageError`` that names them.

A file may build on another one and then says only what differs::

    base: mask_rcnn.yaml    # relative to this file; it may have a base of its own
    loop: {steps: 1000}     # all other options of the loop stay as they are in the base

Groups of options are merged; lists and single values, ``null`` among them, replace what the base says. ``base`` may
list several files; each is put over those before it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _pydantic_dataclass
from typing_extensions import dataclass_transform

from shape3d_amodal.errors import UsageError, printable

_RENAMED = {"pictures": "train"}
"""Old names of groups of options at the top of a file, which files of users may still have."""
T = TypeVar("T")

Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=16_384)]
"""Channels, or numbers in a vector, of a layer."""
Depth = Annotated[int, Field(ge=1, le=64)]
"""Layers one after another."""
CropSize = Annotated[int, Field(ge=8, le=1024)]
"""Side of a crop in pixels."""
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

_WIDTH = 120


@dataclass_transform(kw_only_default=True, frozen_default=True)
def configuration(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen, keyword-only dataclass whose values are type-checked and whose unknown keys are errors, as
    are numbers that are not finite."""
    options = ConfigDict(extra="forbid", strict=False, use_attribute_docstrings=True, allow_inf_nan=False)
    return cast(type[T], _pydantic_dataclass(frozen=True, kw_only=True, config=options)(cls))


def load_config(path: str | Path, cls: type[T], *, overrides: Sequence[str] = ()) -> T:
    """Read the YAML file ``path``, and the files that it builds on, as a ``cls``.

    Args:
        path: the file.
        cls: a ``@configuration`` class.
        overrides: changes such as ``loop.steps=100``; they replace what the files say.

    Raises:
        UsageError: a file cannot be read or is no YAML mapping, the bases lead in a circle, or a key is unknown or has
            a wrong value. The message names the file in which that stands.
    """
    return _Options(_read(Path(path)), overrides).check(cls)


def check_file(path: str | Path) -> dict[str, Any]:
    """What the YAML file ``path`` and those that it builds on say, not checked further.

    Raises:
        UsageError: a file cannot be read or is no YAML mapping, or the bases lead in a circle.
    """
    return _Options(_read(Path(path))).raw


def config_files(path: str | Path) -> list[Path]:
    """The YAML file ``path`` and those that it builds on.

    Raises:
        UsageError: as by ``check_file``.
    """
    return [Path(name) for name, _ in _read(Path(path))]


def check_text(text: str, source: str = "configuration") -> dict[str, Any]:
    """The mapping that YAML ``text`` holds, not checked further.

    Raises:
        UsageError: it is no YAML mapping.
    """
    return _parse(text, source)


def load_config_by(
    path: str | Path, key: str, class_of: Callable[[object], type[T]], *, overrides: Sequence[str] = ()
) -> T:
    """Read a YAML file like ``load_config``, as the class that ``class_of`` finds for the value of the option ``key``.

    Raises:
        UsageError: as for ``load_config``, or by ``class_of``.
    """
    options = _Options(_read(Path(path)), overrides)
    try:
        cls = class_of(options.raw.get(key))
    except UsageError as error:
        raise UsageError(f"{options.where((key,))}: {error}") from error
    return options.check(cls)


def parse_config(text: str, cls: type[T], *, source: str = "configuration", overrides: Sequence[str] = ()) -> T:
    """Read YAML text, which can have no base, as a ``cls``, with ``overrides`` put over it.

    Raises:
        UsageError: as for ``load_config``; the message starts with ``source``.
    """
    return _Options([(source, _parse(text, source))], overrides).check(cls)


def from_mapping(raw: dict[str, Any], cls: type[T], *, source: str) -> T:
    """Check ``raw``, a mapping as YAML gives it, as a ``cls``.

    Raises:
        UsageError: an unknown key or a wrong value; the message starts with ``source``.
    """
    return _Options([(source, raw)]).check(cls)


def dump_config(config: Any, *, leave_out: Collection[str] = ()) -> str:
    """The YAML text that ``parse_config`` reads back to an equal ``config``, but for the options ``leave_out``."""
    plain = {name: value for name, value in _plain(config).items() if name not in leave_out}
    return yaml.safe_dump(plain, sort_keys=False)


def explained_config(config: Any) -> str:
    """The same configuration as ``dump_config`` gives, with the text of each option as a comment above it."""
    return "\n".join(_explained(config, _plain(config))) + "\n"


def texts_of(config: Any) -> Iterator[tuple[str, str]]:
    """All texts in ``config``, names of files among them, each with the name of its option."""
    return _texts("", _plain(config))


@contextmanager
def options_of(group: str, config: Any) -> Iterator[None]:
    """Errors of the block call an option of ``config``, which is the ``group`` of a configuration, by its whole name:
    "images: missing" becomes "train.images: missing"."""
    try:
        yield
    except UsageError as error:
        if _names_option(error, type(config)):
            raise UsageError(f"{group}.{error}") from error
        raise


def _names_option(error: UsageError, cls: Any) -> bool:
    """Whether the message begins with an option of ``cls``."""
    return str(error).partition(":")[0].partition(".")[0] in getattr(cls, "__pydantic_fields__", {})


class _Options:
    """Options as files and overrides say them, not checked yet.

    Args:
        layers: what each file says and the file's name; each is put over those before it.
        overrides: changes to be put over all of them.
    """

    def __init__(self, layers: Sequence[tuple[str, dict[str, Any]]], overrides: Sequence[str] = ()) -> None:
        self.raw: dict[str, Any] = reduce(_over, (said for _, said in layers), {})
        changes: dict[str, Any] = {}
        for override in overrides:
            self.raw, changes = _put(self.raw, override), _put(changes, override)
        self._layers = [*layers, (layers[-1][0], changes)]

    def check(self, cls: type[T]) -> T:
        """The options as a ``cls``."""
        try:
            return TypeAdapter(cls).validate_python(_over(_group_defaults(cls), self.raw))
        except UsageError as error:  # options that do not fit each other
            raise UsageError(f"{self._layers[-1][0]}: {_in_full(error, cls, self.raw)}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            known, got = "", f", got {_short(first['input'])}"
            if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
                known, got = f"; this key is not known{self._near(first['loc'], cls)}", ""
            if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
                got = ""
            problem = first["msg"][:1].lower() + first["msg"][1:]  # names of choices stay as they are
            raise UsageError(f"{self.where(first['loc'])}: {place}: {problem}{got}{known}") from error

    def _near(self, place: Sequence[object], cls: type[Any]) -> str:
        """Options of ``cls`` whose names are like that at ``place``, or like what is given inside it."""
        path = ".".join(map(str, place))
        said: Any = self.raw
        for part in place:
            said = said.get(part, {}) if isinstance(said, dict) else {}
        while isinstance(said, dict) and said:
            key, said = next(iter(said.items()))
            path += f".{key}"
        last = path.rpartition(".")[2]
        keys = list(_keys(cls))
        same = [key for key in keys if key.rpartition(".")[2] == last]
        ends = {key: key.rpartition(".")[2] for key in keys}
        alike = get_close_matches(last, ends.values(), n=3) + get_close_matches(path, keys, n=3)
        near = dict.fromkeys([*same, *(key for one in alike for key, end in ends.items() if one in (end, key))])
        best = sorted(near, key=lambda key: -SequenceMatcher(None, path, key).ratio())[:3]
        hint = f"; near are {', '.join(best)}" if best else ""
        return f"{hint}; see --print-config of train and benchmark, --help, or the shipped configs"

    def where(self, place: Sequence[object]) -> str:
        """The file that says most of the path ``place``, the last of several."""

        def depth(said: Any) -> int:
            steps = 0
            for part in place:
                if not isinstance(said, dict) or part not in said:
                    break
                said, steps = said[part], steps + 1
            return steps

        return max(reversed(self._layers), key=lambda layer: depth(layer[1]))[0]


def _read(path: Path, above: tuple[Path, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """What the file and its bases say, each with its name; the lowest base comes first.

    Args:
        path: the file.
        above: the files that lead to it, the first one first.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        place = f"{above[-1]}: base: {path}" if above else f"{path}"
        raise UsageError(f"{place}: cannot read the configuration: {getattr(error, 'strerror', error)}") from error
    said = _with_new_names(_parse(text, str(path)))
    layers: list[tuple[str, dict[str, Any]]] = []
    for base in _bases(said, path):
        if base.resolve() in [file.resolve() for file in (*above, path)]:
            circle = " -> ".join(str(file) for file in (*above, path, base))
            raise UsageError(f"{path}: base: the files lead in a circle: {circle}")
        layers += _read(base, (*above, path))
    return [*layers, (str(path), said)]


def _bases(said: dict[str, Any], path: Path) -> list[Path]:
    """The files that the file ``path`` builds on; their names are taken out of ``said``."""
    if "base" not in said:
        return []
    named = said.pop("base")
    bases = named if isinstance(named, list) and named else [named]
    if wrong := [base for base in bases if not isinstance(base, str)]:
        raise UsageError(f"{path}: base: expected the path of a YAML file, or several, got {wrong[0]!r}")
    return [path.parent / base for base in bases]


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{source}: expected a mapping of options, got {type(raw).__name__}")
    return raw


def _with_new_names(said: dict[str, Any]) -> dict[str, Any]:
    """The options, groups of an old name under the new one; where both stand, the old one is left to be refused."""
    return {new if (new := _RENAMED.get(key, key)) not in said else key: value for key, value in said.items()}


def _in_full(error: UsageError, cls: Any, said: dict[str, Any]) -> str:
    """The message of ``error``, in which an option of one of the groups in ``said`` is called by its whole name."""
    for name, option in getattr(cls, "__pydantic_fields__", {}).items():
        inside = said.get(name)
        for kind in [option.annotation, *get_args(option.annotation)]:
            if isinstance(inside, dict) and is_dataclass(kind) and _raises(error, kind, inside):
                below = UsageError(_in_full(error, kind, inside))
                return f"{name}.{below}" if _names_option(below, kind) else str(below)
    return str(error)


def _raises(error: UsageError, kind: Any, said: dict[str, Any]) -> bool:
    """Whether the group ``said`` by itself, as a ``kind``, is refused for the same reason."""
    try:
        TypeAdapter(kind).validate_python(said)
    except UsageError as found:
        return str(found) == str(error)
    except ValidationError:
        pass
    return False


def _keys(cls: Any, prefix: str = "") -> Iterator[str]:
    """All options of ``cls`` by their dotted names."""
    for name, option in getattr(cls, "__pydantic_fields__", {}).items():
        yield f"{prefix}{name}"
        kinds = [option.annotation, *get_args(option.annotation)]
        for kind in kinds:
            if is_dataclass(kind):
                yield from _keys(kind, f"{prefix}{name}.")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _group_defaults(cls: type[Any]) -> dict[str, Any]:
    """The defaults of the options that are groups themselves: a group that is given in part keeps the rest of them."""
    groups: dict[str, Any] = {field.name: field.default for field in fields(cls)}
    return {name: asdict(group) for name, group in groups.items() if _is_group(group)}


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` put over ``below``, group by group."""
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _put(raw: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of ``raw`` with one option changed, ``a.b.c=value``; the value is YAML and replaces a whole group, too."""
    override = printable(override)
    path, equals, text = override.partition("=")
    if not (path and equals):
        raise UsageError(f"expected an override such as loop.steps=100, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"override {override!r}: the value is not valid YAML") from error

    *parents, last = path.split(".")
    changed = group = dict(raw)
    for parent in parents:
        below = group.get(parent)
        if not isinstance(below, dict | None):
            raise UsageError(f"override {override!r}: {parent} is not a group of options")
        group[parent] = dict(below or {})
        group = group[parent]
    group[last] = value
    return changed


def _is_group(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _plain(config: Any) -> dict[str, Any]:
    """``config`` in what YAML knows: mappings, lists, texts, numbers."""
    return cast(dict[str, Any], TypeAdapter(type(config)).dump_python(config, mode="json"))


def _texts(name: str, plain: Any) -> Iterator[tuple[str, str]]:
    if isinstance(plain, str):
        yield name, plain
    elif isinstance(plain, dict | list):
        for key, value in plain.items() if isinstance(plain, dict) else ((name, one) for one in plain):
            yield from _texts(str(key), value)


def _explained(value: Any, plain: Any, indent: str = "", texts: bool = True) -> Iterator[str]:
    """The lines of what is inside ``value``, a group or a collection of groups; ``plain`` is the same as YAML knows it.

    Of several groups in one collection, the first alone is explained.
    """
    mark = f"{indent}# "
    for number, (key, item, raw) in enumerate(_entries(value, plain)):
        if texts and _is_group(value):
            text = " ".join(_text(type(value), key).split())
            yield from textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False)
        if raw and (_is_group(item) or any(_is_group(one) for _, one, _ in _entries(item, raw))):
            yield indent + ("-" if key is None else _yaml({key: None}).removesuffix(" null"))
            yield from _explained(item, raw, indent + "  ", texts and (_is_group(value) or number == 0))
        else:
            yield textwrap.indent(_yaml([raw] if key is None else {key: raw}), indent)


def _text(cls: type[Any], name: str) -> str:
    """The text of an option, which stands in the class that declares it: pydantic does not hand it on to subclasses."""
    owners = (vars(owner).get("__pydantic_fields__", {}).get(name) for owner in cls.__mro__)
    return next((field.description for field in owners if field is not None and field.description), "")


def _entries(value: Any, plain: Any) -> list[tuple[Any, Any, Any]]:
    """Key (None in a list), value and plain value of all that is inside ``value``."""
    if _is_group(value):
        return [(name, getattr(value, name), raw) for name, raw in plain.items()]
    if isinstance(value, dict):
        return list(zip(plain, value.values(), plain.values(), strict=True))
    if isinstance(value, tuple):
        return [(None, item, raw) for item, raw in zip(value, plain, strict=True)]
    return []


def _yaml(value: dict[Any, Any] | list[Any]) -> str:
    """YAML in which the innermost lists and mappings stand on one line, as in the shipped files."""
    inner = value.values() if isinstance(value, dict) else value
    style = None if any(isinstance(one, dict | list) for one in inner) else False
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=style)
    return text.removesuffix("\n")
