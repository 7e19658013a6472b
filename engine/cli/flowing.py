"""Help texts that fit any terminal."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def flowing(command: Callable[..., None]) -> str:
    """The docstring of a command without the line breaks in its paragraphs, which Typer would keep.

    Paragraphs that begin with Click's mark for it, a backspace, stay as they are.
    """
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(text if text.startswith("\b") else text.replace("\n", " ") for text in paragraphs)
