"""Which command a command line asks for.

How a command is written: ``shape3d_amodal/cli/<command>.py`` holds one function named ``<command>`` whose typed
arguments are the options (tyro) and whose docstring is the help. Every argument becomes an option (``--fit-steps``);
``tyro.conf.Positional[Path]`` makes it positional. The types must be importable at the module's top, and cheap, since
``--help`` imports every command file: heavy imports stand inside the function. A command prints what it has to say,
returns None, and raises an ``AmodalError`` where it fails.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tyro

from shape3d_amodal import __version__
from shape3d_amodal.cli import (
    benchmark,
    complete,
    data,
    demo,
    doctor,
    evaluate,
    meshes,
    predict,
    render,
    samples,
    scenes,
    train,
)
from shape3d_amodal.cli.papers import nmr, shapes2d
from shape3d_amodal.cli.shared.parsing import REGISTRY
from shape3d_amodal.cli.shared.stopping import INTERRUPTED, TERMINATED, Terminated, raise_at_signals
from shape3d_amodal.errors import AmodalError, DataError, MissingBackendError, UsageError, nearest

_FILES = (doctor, demo, data, meshes, scenes, nmr, shapes2d, train, complete, predict, render, evaluate, samples)
COMMANDS: dict[str, Callable[..., Any]] = {
    name: getattr(file, name) for file in (*_FILES, benchmark) for name in [file.__name__.rpartition(".")[2]]
}
"""The command of each file, which has the file's name."""
GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "data": {name: getattr(data, name) for name in ("validate", "convert", "stats", "poses", "kins")},
    "shapes2d": {name: getattr(shapes2d, name) for name in ("make", "bounds", "show")},
}
"""The commands that consist of others."""
PROGRAM = "shape3d-amodal"
DESCRIPTION = """Amodal instance segmentation with a 3D shape prior.

Global options, anywhere on the line: --debug shows the traceback of an error; --version prints the version."""
BROKEN_PIPE = 141
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF, errno.EFBIG)
"""What writing to an open file may fail with; such an error has no file name."""


def run(arguments: list[str]) -> int:
    """Run one command; returns the exit status."""
    if sys.stdout is None:
        print("error: standard output is closed; redirect it, for example to /dev/null", file=sys.stderr)
        return AmodalError.exit_status
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the locale cannot write is no error
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who read our output, such as head, has seen enough
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
            raise
        _drop_output()
        print(f"error: cannot write the output: {error.strerror}; free some space, or write elsewhere", file=sys.stderr)
        return AmodalError.exit_status


def _drop_output() -> None:
    """Let what is still to be written vanish, which Python would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if "--version" in arguments:
        print(f"shape3d-amodal {__version__}")
        return 0
    try:
        with raise_at_signals():
            _dispatch(arguments)
    except KeyboardInterrupt as stop:
        word, status = ("terminated", TERMINATED) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)
        print(": ".join((word, *map(str, stop.args))), file=sys.stderr)
        return status
    except (AmodalError, ModuleNotFoundError, OSError, UnicodeEncodeError) as error:
        known = _as_users_error(error)
        if known is None:
            raise
        if debug:
            traceback.print_exception(error)
        print(f"error: {_as_typed(known, arguments)}", file=sys.stderr)
        return known.exit_status
    return 0


def _dispatch(arguments: list[str]) -> None:
    """Call the command. It is parsed on its own, so that no message speaks of the options of another command."""
    if "" in arguments:
        before = " ".join(arguments[: arguments.index("")][-1:])
        raise UsageError(
            f"an empty argument{f' behind {before}' if before else ''}; is a variable of the shell not set?"
        )
    name, rest = (arguments or ["--help"])[0], arguments[1:]
    if name.startswith("-"):
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog=PROGRAM, description=DESCRIPTION, args=arguments or [name], registry=REGISTRY
        )
        return
    command, program = _chosen(COMMANDS, name, PROGRAM), f"{PROGRAM} {name}"
    if name in GROUPS and rest not in ([], ["-h"], ["--help"]):
        command, program = _chosen(GROUPS[name], rest[0], program), f"{program} {rest[0]}"
        rest = rest[1:]
    tyro.cli(command, prog=program, args=rest, registry=REGISTRY)


def _chosen(commands: Mapping[str, Callable[..., Any]], name: str, program: str) -> Callable[..., Any]:
    if name not in commands:
        near = nearest(name, commands)
        hint = f"did you mean {near}? See" if near else "see"
        raise UsageError(f"{program}: expected one of {', '.join(commands)}, got {name!r}; {hint} {program} --help")
    return commands[name]


def _as_typed(error: AmodalError, arguments: Iterable[str]) -> str:
    """The message; where it begins with a name in Python, or in a configuration, of an option that was typed, with that
    option instead, since what is typed goes above what a configuration says."""
    words = [one.partition("=") for one in arguments]
    typed, values = {word.replace("_", "-") for word, _, _ in words}, {part for word in words for part in word}
    parts = str(error).split(": ")
    for place, name in enumerate(parts[:2]):
        option, may_be_file = f"--{name.replace('_', '-')}", name in values or isinstance(error, DataError)
        if option in typed and len(parts) > place + 1 and not may_be_file:
            return ": ".join((option, *parts[place + 1 :]))
    return str(error)


def _as_users_error(error: BaseException) -> AmodalError | None:
    """The error that the user can mend, or None where it is a fault of ours."""
    if isinstance(error, AmodalError):
        return error
    if isinstance(error, ModuleNotFoundError):
        library = (error.name or "").partition(".")[0]
        wanted = "detectron2" if library in doctor.DETECTRON2_NEEDS else library
        if wanted in doctor.OPTIONAL:
            return MissingBackendError(f"{library} is not installed: {doctor.how_to_get(wanted)}")
    if isinstance(error, UnicodeEncodeError):
        near = error.object[max(0, error.start - 20) : error.start + 60]
        problem = f"{near!r} cannot be written in this locale, whose encoding is {error.encoding}"
        return UsageError(f"{ascii(problem)[1:-1]}; set LC_ALL=C.UTF-8, or PYTHONUTF8=1")
    if isinstance(error, OSError) and error.filename is not None:  # an output that cannot be written
        return AmodalError(f"{error.filename}: {error.strerror}")
    return None
