"""Lets MkDocs read the Markdown inside the foldable parts of generated pages, as GitHub does."""

from __future__ import annotations


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs with the text of each page."""
    return markdown.replace("<details><summary>", '<details markdown="1"><summary>')
