"""Which projects a user means, in whatever word the source has for them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from engine.errors import ConfigError, NotFound, Side
from engine.records import Project, Selection

REGEX = "re:"
_SHOWN = 10


class Chosen:
    """Projects named by name, id, or ``re:REGEX``, which has to match the whole name; none means all.

    Args:
        noun: what the source calls a project.

    Raises:
        ConfigError: a regular expression is malformed.
    """

    def __init__(self, names: Sequence[str], noun: str = "project") -> None:
        self._names = names
        self._noun = noun
        self._plain = {name for name in names if not name.startswith(REGEX)}
        self._patterns = [_compiled(name) for name in names if name.startswith(REGEX)]

    def takes(self, project: Project) -> bool:
        name = project.namespace.project
        return (
            not self._names
            or name in self._plain
            or project.id in self._plain
            or any(pattern.fullmatch(name) for pattern in self._patterns)
        )

    def check(self, projects: Sequence[Project], trash: Sequence[Project]) -> None:
        """See that every name means something.

        Args:
            projects: all that can be chosen.
            trash: the deleted ones, if they were not asked for.

        Raises:
            ConfigError: a name matches nothing; the remedy lists the nearest ones.
        """
        for name in self._names:
            takes = Chosen([name]).takes
            if any(map(takes, projects)):
                continue
            if any(map(takes, trash)):
                raise ConfigError(
                    f"the {self._noun} {name!r} is deleted",
                    side=Side.SOURCE,
                    remedy="restore it, or ask for deleted ones as well",
                )
            raise ConfigError(
                f"there is no {self._noun} {name!r}",
                side=Side.SOURCE,
                remedy=_nearest(name, projects, self._noun),
            )


def absent(run_id: str) -> NotFound:
    """What is wrong with the id of a run that was named and that no project has."""
    return NotFound(
        "no run of this id was found in what was selected",
        side=Side.SOURCE,
        subject=f"run {run_id}",
        remedy="is the id right, and the run in one of these projects?",
    )


def refuse_order(selection: Selection) -> None:
    """For sources that list runs in one order.

    Raises:
        ConfigError: another one was asked for.
    """
    if selection.order is not None:
        raise ConfigError(
            f"this source cannot list its runs in the order {selection.order!r}",
            side=Side.SOURCE,
            remedy="leave it out; only W&B servers have orders",
        )


def _nearest(name: str, projects: Sequence[Project], noun: str) -> str:
    names = [project.namespace.project for project in projects]
    folded = {each.casefold(): each for each in names}
    wanted = name.removeprefix(REGEX).casefold()
    near = difflib.get_close_matches(wanted, folded, n=_SHOWN, cutoff=0.5)
    near += [each for each in folded if wanted in each and each not in near]
    if near:
        return f"did you mean {' or '.join(repr(folded[each]) for each in near[:_SHOWN])}?"
    if not names:
        return f"the source has no {noun}s"
    more = ", …" if len(names) > _SHOWN else ""
    return f"it has {', '.join(map(repr, names[:_SHOWN]))}{more}"


def _compiled(name: str) -> re.Pattern[str]:
    try:
        return re.compile(name.removeprefix(REGEX))
    except re.error as error:
        raise ConfigError(
            f"{name!r} is no regular expression: {error}", remedy="see the syntax of Python's re", exc=error
        ) from error
