"""The commands that README, the guides and the heads of configurations tell to type are understood as they stand."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
from pages import PAGES, ROOT, Typed, typed_commands

from shape3d_amodal.cli import dispatch, main

COMMANDS = typed_commands()


def understood(command: Callable[..., Any]) -> Callable[..., None]:
    """``command``, but nothing is done."""
    return functools.wraps(command)(lambda *_given, **_options: None)


def test_commands_of_all_kinds_are_found() -> None:
    """Else those below are too few: over several lines, in loops and pipes, in quotes, in the text and in tables."""
    lines = set(map(str, COMMANDS))
    for line in (
        "README.md: evaluate results.json --annotations annotations.json",
        "bop.md: complete --images lmo/test --annotations truth.json --meshes 'models?up=+z&front=-y' --views tabletop "
        "--exact-shapes --out results.json",
        "scenes.md: nmr --meshes 'open13:$split' --out outputs/nmr",
        "scenes.md: scenes --meshes SOURCE --count 1000000 --shard '{}/8' --out DIR",
        "scenes.md: scenes --meshes SOURCE --count 1000000 --workers 16 --out DIR",
        "training.md: train configs/open13/trust.yaml",
        "results.md: benchmark configs/open13/prior.yaml --workers 2 --markdown docs/results.md",
        "configs/lmo/known.yaml: benchmark configs/lmo/known.yaml --out outputs/lmo",
    ):
        assert line in lines
    assert {typed.words[0] for typed in COMMANDS} >= set(dispatch.COMMANDS) - {"demo"}  # scripts/demo.sh


@pytest.mark.parametrize("typed", COMMANDS, ids=str)
def test_what_is_typed_is_understood(monkeypatch, capsys, typed: Typed) -> None:
    """Its options are known and complete, and the configuration that it names takes what it changes."""
    monkeypatch.chdir(ROOT)
    words = [{"$count": "4", "$seed": "1", "CONFIG": "unet2d.yaml"}.get(word, word) for word in typed.words]
    words = [word.replace("/CONFIG", "/unet2d.yaml").replace("{}", "0") for word in words]
    if words[0] in ("train", "benchmark"):
        if (ROOT / words[1]).is_file() or words[1].startswith("configs/"):
            words.append("--print-config")
        else:  # a file of the reader's
            monkeypatch.setitem(dispatch.COMMANDS, words[0], understood(dispatch.COMMANDS[words[0]]))
    else:
        monkeypatch.setitem(dispatch.COMMANDS, words[0], understood(dispatch.COMMANDS[words[0]]))
        for name, command in dispatch.GROUPS.get(words[0], {}).items():
            monkeypatch.setitem(dispatch.GROUPS[words[0]], name, understood(command))
    assert main(words) == 0, capsys.readouterr().err
    named = [word for word in words if word.startswith("configs/")]
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_scripts_that_are_typed_are_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"\b(?:bash|python) (\S+\.(?:sh|py))\b", page.read_text())}
    assert {"scripts/setup.sh", "scripts/demo.sh", "benchmarks/layered_sweep.py"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []
