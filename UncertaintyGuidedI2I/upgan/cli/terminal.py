"""What the command line shows: the one place through which texts from elsewhere reach a terminal.

Names of models and patients, paths and sentences about them were written by strangers. On a terminal they could forge
a line, colour or clear the screen, or, in rich's markup, hide.
"""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape

from upgan.foreign_text import escaped

messages = Console(stderr=True, highlight=False)


def marked(text: object) -> str:
    """Return any text so that it can stand within rich's markup, on one line and as it is."""
    return escape(escaped(text))


def echo(*fields: object) -> None:
    """Print one line of results, its fields apart by tabs; those at the end that are empty are left out."""
    typer.echo("\t".join(escaped(field) for field in fields).rstrip("\t"))


def warn(sentence: object) -> None:
    """Print a warning beside the results."""
    messages.print(f"[yellow]Warning:[/] {marked(sentence)}", soft_wrap=True)
