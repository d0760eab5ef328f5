"""The commands that README, the guides and the heads of configurations tell to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
PROGRAM = "shape3d-amodal"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(rf"`({PROGRAM} (?:doctor|(?:train|benchmark) configs/[^`]*|(?:scenes|nmr) --[^`]*))`")
"""Whole commands in the text; others are named in part."""
_END = frozenset((";", "|", "||", "&&", "&", ")", "done"))


@dataclass(frozen=True)
class Typed:
    """A command of a page, as words behind the name of the program."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def blocks(page: Path, language: str = "bash") -> list[str]:
    """The fenced blocks of a language, in their order."""
    return [text for name, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def steps(page: Path) -> list[str]:
    """What a reader types, in its order: the blocks of commands, and as commands those of Python that write a file."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    writing = [text for name, text in found if name == "python" and "json.dump(" in text]
    as_command = {text: f"python - <<'END'\n{text}END\n" for text in writing}
    return [as_command.get(text, text) for name, text in found if name == "bash" or text in as_command]


def typed_commands() -> list[Typed]:
    """All of the program's commands, without what follows a pipe or a semicolon."""
    found: dict[Typed, None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        indented = [line for line in text.splitlines() if line.startswith(f"    {PROGRAM} ")]
        for command in (*_lines(blocks(page)), *indented, *_INLINE.findall(text)):
            found.update(dict.fromkeys(Typed(page.name, words) for words in _words(command)))
    for file in sorted(ROOT.glob("configs/**/*.yaml")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("#") and f"{PROGRAM} " in line:
                command = re.split(r"\s{3,}", line[line.index(PROGRAM) :])[0]
                name = file.relative_to(ROOT).as_posix()
                found.update(dict.fromkeys(Typed(name, words) for words in _words(command)))
    return list(found)


def _lines(texts: list[str]) -> Iterator[str]:
    for text in texts:
        for name, value in re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE):
            text = text.replace(f"${name}", value)
        yield from text.replace("\\\n", " ").splitlines()


def _words(line: str) -> Iterator[tuple[str, ...]]:
    """The words behind each mention of the program in a line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words = [part for word in lexer for part in (shlex.split(word) if word.startswith(f"{PROGRAM} ") else [word])]
    starts = [place for place, word in enumerate(words) if word == PROGRAM]
    for start in starts:
        rest = words[start + 1 :]
        yield tuple(rest[: next((place for place, word in enumerate(rest) if word in _END), len(rest))])
