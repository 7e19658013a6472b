"""Texts of other people in what the commands print."""

from __future__ import annotations

from rich.markup import escape

from engine.dashboard.readable import shown

LONGEST = 2_000
"""Characters of one text."""


def plain(text: str) -> str:
    """A text as it stands in rich's markup: one line, in which nothing acts on the markup or the terminal.

    Names of runs and files, and the words of servers, may hold anything, also escape sequences.
    """
    return escape(shown(text, LONGEST))
