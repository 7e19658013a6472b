"""What a URI of an archive means, and where projects go in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.errors import ConfigError, Side
from engine.records import Namespace, Project


def root_of(rest: str) -> Path:
    """The directory that a URI names.

    Raises:
        ConfigError: it names none.
    """
    if not rest:
        raise ConfigError("archive: names no directory", remedy="write for example archive:./my-runs")
    return Path(rest).expanduser()


def server_of(root: Path) -> str:
    """By which an archive is known, however it is written."""
    return f"archive:{root.resolve()}"


def places_of(projects: Sequence[Project], remap: Mapping[str, str]) -> dict[Namespace, Namespace]:
    """Where each project goes: by its own name, or as the user says.

    Raises:
        ConfigError: two would be merged.
    """
    places: dict[Namespace, Namespace] = {}
    taken: dict[Namespace, Namespace] = {}
    for project in projects:
        own = project.namespace
        said = remap.get(own.path, remap.get(own.project))
        place = own
        if said is not None:
            place = Namespace.from_path(said) if "/" in said else Namespace(own.entity, said)
        if place in taken:
            raise ConfigError(
                f"{own} and {taken[place]} would both become {place}",
                side=Side.DESTINATION,
                remedy="send one of them elsewhere with --remap",
            )
        places[own], taken[place] = place, own
    return places
