"""Where source projects go in W&B: which entity, which project, and what they are called there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import ConfigError, EngineError, Problem, Side
from engine.records import Namespace
from engine.wandb.client import Identity
from engine.wandb.names import is_project_name, project_names
from engine.wandb.uri import Location

WANDB = "wandb"
"""The scheme of W&B servers."""

SHOWN = 5
"""Names in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The user's remapping comes first, then what the URI names, then a project for each source project.

    Args:
        as_groups: make groups of one project even if the URI names none.
        remap: as in ``Context.remap``.
        system: scheme of the source.
    """

    location: Location
    as_groups: bool
    identity: Identity
    remap: Mapping[str, str]
    system: str

    @property
    def entity(self) -> str:
        """Where everything goes that is not sent elsewhere.

        Raises:
            ConfigError: there is none.
        """
        entity = self.location.entity or self.identity.entity
        if not entity:
            raise ConfigError(
                "no entity is given, and this account has no default one",
                side=Side.DESTINATION,
                remedy=f"write wandb:ENTITY/PROJECT with one of {', '.join(self.identity.entities)}",
            )
        return entity

    @property
    def single_project(self) -> str | None:
        """The one project for all, if there is one."""
        if self.location.project is None and self.as_groups:
            return f"imported-from-{self.system}"
        return self.location.project

    def targets(self, sources: Sequence[Namespace]) -> tuple[dict[Namespace, Namespace], list[EngineError]]:
        """A place for each source project, and what is wrong with those that have none."""
        targets: dict[Namespace, Namespace] = {}
        errors: dict[str, EngineError] = {}
        rest = []
        for source in sources:
            if wish := self.wish(source):
                try:
                    targets[source] = self._wished(wish)
                except ConfigError as error:
                    errors[wish] = error
            elif single := self.single_project:
                targets[source] = Namespace(self.entity, single)
            else:
                rest.append(source)
        named = project_names(rest)
        targets |= {source: Namespace(self.entity, name) for source, name in named.items()}
        return targets, list(errors.values())

    def wish(self, source: Namespace) -> str | None:
        """Where the user wants a project to go."""
        return self.remap.get(source.path) or self.remap.get(source.project)

    def wished(self, source: Namespace) -> Namespace | None:
        """Where the user wants a project to go that may not be moved now.

        Raises:
            ConfigError: that is no place.
        """
        wish = self.wish(source)
        return None if wish is None else self._wished(wish)

    def _wished(self, wish: str) -> Namespace:
        entity, slash, project = wish.partition("/")
        if not slash:
            entity, project = self.entity, wish
        if not entity or not is_project_name(project):
            raise ConfigError(
                f"cannot remap to {wish!r}",
                side=Side.DESTINATION,
                remedy="write entity/project or project, at most 128 characters and none of / \\ # ? % :",
            )
        return Namespace(entity, project)

    def shared(self, targets: Mapping[Namespace, Namespace]) -> set[Namespace]:
        """Projects in which several meet; there the group is what tells them apart.

        One that all are sent to counts as such even if only one comes now. A project of W&B has groups of its
        own, so that one which goes alone keeps them, unless the user asked for groups.
        """
        single = self.single_project if self.as_groups or self.system != WANDB else None
        return {
            target
            for target, sources in members(targets).items()
            if len(sources) > 1 or target.project == single
        }

    def renamed(self, targets: Mapping[Namespace, Namespace]) -> dict[Namespace, Namespace]:
        """Source projects that get another name because W&B does not take theirs, or has it twice."""
        if self.single_project is not None:
            return {}
        shared = self.shared(targets)
        return {
            source: target
            for source, target in targets.items()
            if target not in shared and source.project != target.project and not self.wish(source)
        }

    def warnings(self, targets: Mapping[Namespace, Namespace]) -> list[Problem]:
        """What may surprise of these names."""
        found = []
        if renamed := self.renamed(targets):
            pairs = [f"{source.project!r} → {target.project!r}" for source, target in renamed.items()]
            found.append(
                Problem(
                    kind="project_renamed",
                    message=f"{_several(len(pairs), 'name')} cannot be kept: {_listed(pairs)}",
                    side=Side.DESTINATION,
                    remedy="choose others with --remap; the original names are kept in the descriptions",
                )
            )
        for target, sources in members(targets).items():
            if len(sources) > 1 and any(map(self.wish, sources)):
                named = [repr(source.project) for source in sources]
                found.append(
                    Problem(
                        kind="projects_merged",
                        message=f"{len(sources)} experiments meet in {target}: {_listed(named)}",
                        side=Side.DESTINATION,
                        remedy="each becomes a group there; leave them apart with another --remap",
                    )
                )
        return found


def members(targets: Mapping[Namespace, Namespace]) -> dict[Namespace, list[Namespace]]:
    """The source projects of each target."""
    found: dict[Namespace, list[Namespace]] = defaultdict(list)
    for source, target in targets.items():
        found[target].append(source)
    return found


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
