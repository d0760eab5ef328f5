"""The command line, ``shape3d-amodal <command>``.

How a command is written: ``shape3d_amodal/cli/<command>.py`` holds one function named ``<command>`` whose typed
arguments are the options (tyro) and whose docstring is the help. Every argument becomes an option (``--fit-steps``);
``tyro.conf.Positional[Path]`` makes it positional. The types must be importable at the module's top, and cheap, since
``--help`` imports every command file: heavy imports stand inside the function. A command prints what it has to say,
returns None, and raises an ``AmodalError`` where it fails.

Exit status: 0 done, 2 usage, otherwise the error's own (3 bad data, 4 a missing backend, 1 the rest), 130 interrupted,
141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
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
from shape3d_amodal.errors import AmodalError, MissingBackendError

_FILES = (doctor, demo, data, meshes, scenes, nmr, shapes2d, train, complete, predict, render, evaluate, samples)
COMMANDS: dict[str, Callable[..., Any]] = {
    name: getattr(file, name) for file in (*_FILES, benchmark) for name in [file.__name__.rpartition(".")[2]]
}
"""The command of each file, which has the file's name."""
DESCRIPTION = """Amodal instance segmentation with a 3D shape prior.

Global options, anywhere on the line: --debug shows the traceback of an error; --version prints the version."""
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. ``arguments`` defaults to the process's own."""
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if "--version" in arguments:
        print(f"shape3d-amodal {__version__}")
        return 0
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="shape3d-amodal", description=DESCRIPTION, args=arguments or ["--help"]
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (AmodalError, ModuleNotFoundError, OSError) as error:
        known = _as_users_error(error)
        if known is None:
            raise
        if debug:
            traceback.print_exception(error)
        print(f"error: {known}", file=sys.stderr)
        return known.exit_status
    return 0


def _as_users_error(error: BaseException) -> AmodalError | None:
    """The error that the user can mend, or None where it is a fault of ours."""
    if isinstance(error, AmodalError):
        return error
    if isinstance(error, ModuleNotFoundError):
        library = (error.name or "").partition(".")[0]
        wanted = "detectron2" if library in doctor.DETECTRON2_NEEDS else library
        if wanted in doctor.OPTIONAL:
            return MissingBackendError(f"{library} is not installed: {doctor.how_to_get(wanted)}")
    if isinstance(error, OSError) and error.filename is not None:  # an output that cannot be written
        return AmodalError(f"{error.filename}: {error.strerror}")
    return None
