"""The front door without ``await``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from engine.errors import ConfigError
from engine.records import Json, Project
from engine.sync.loop import Loop
from engine.sync.run import Run
from engine.sync.runs import Runs
from engine.sync.things import Artifact, Collection, Sweep
from engine.wandb import api as asynchronous

_OVERRIDES = ("base_url", "entity", "project")


class Api:
    """W&B's public API; see ``engine.Api``. Open from the start; ``close`` it, use ``with``, or let it go.

    Let go, it stays open for as long as there is a run, a file or a list of it.

    Args:
        overrides: ``base_url``, ``entity`` and ``project`` in a dict, as the SDK takes them.
    """

    def __init__(
        self,
        overrides: Mapping[str, str] | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        accept: Iterable[str] = (),
    ) -> None:
        given = dict(overrides or {})
        if unknown := sorted(given.keys() - set(_OVERRIDES)):
            raise ConfigError(
                f"overrides know no {', '.join(unknown)}", remedy=f"they take {', '.join(_OVERRIDES)}"
            )
        self._api = asynchronous.Api(
            api_key=api_key,
            base_url=base_url or given.get("base_url"),
            entity=entity or given.get("entity"),
            project=project or given.get("project"),
            timeout=timeout,
            accept=accept,
        )
        self._loop = Loop(self._api.__aexit__)
        try:
            self._loop.run(self._api.__aenter__())
        except BaseException:
            self._loop.close()
            raise

    def close(self) -> None:
        """Close connections and end the thread; may be called again."""
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def default_entity(self) -> str | None:
        """What is meant by paths without an entity."""
        return self._api.default_entity

    @property
    def viewer(self) -> str | None:
        """The name of the account whose key is used."""
        return self._api.viewer

    def flush(self) -> None:
        """Nothing: no answers are remembered, so there is nothing to forget."""
        self._api.flush()

    def run(self, path: str) -> Run:
        """A run."""
        return Run(self._loop, self._loop.run(self._api.run(path)))

    def runs(
        self,
        path: str = "",
        filters: Mapping[str, Json] | None = None,
        order: str = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = False,  # noqa: ARG002 - `run.sweep` asks when it is read
        lazy: bool = True,  # noqa: ARG002 - config and summary always come with the list
    ) -> Runs:
        """The runs of a project."""
        return Runs(self._loop, self._api.runs(path, filters, order, per_page))

    def projects(
        self,
        entity: str | None = None,
        per_page: int = 200,  # noqa: ARG002 - all come at once
    ) -> list[Project]:
        """The projects of an entity."""
        return self._loop.run(self._api.projects(entity))

    def registries(self, entity: str | None = None) -> list[Project]:
        """The registries of the organisations of an entity, each a project."""
        return self._loop.run(self._api.registries(entity))

    def sweep(self, path: str) -> Sweep:
        """A sweep."""
        return Sweep(self._loop, self._loop.run(self._api.sweep(path)))

    def sweeps(self, path: str = "", per_page: int = 50) -> Iterator[Sweep]:
        """The sweeps of a project."""
        return (Sweep(self._loop, one) for one in self._loop.iterate(self._api.sweeps(path, per_page)))

    def artifact(self, name: str, type: str | None = None) -> Artifact:  # noqa: A002 - the SDK's spelling
        """A version of an artifact."""
        return Artifact(self._loop, self._loop.run(self._api.artifact(name, type)))

    def artifacts(
        self, type_name: str, name: str, per_page: int = 100, *, tags: Sequence[str] | None = None
    ) -> Iterator[Artifact]:
        """The versions of a collection, the newest first; with ``tags`` those that have all of them."""
        found = self._loop.iterate(self._api.artifacts(type_name, name, per_page, tags=tags))
        return (Artifact(self._loop, one) for one in found)

    def artifact_collections(self, path: str = "", type_name: str | None = None) -> Iterator[Collection]:
        """The collections of a project."""
        found = self._loop.iterate(self._api.artifact_collections(path, type_name))
        return (Collection(self._loop, one) for one in found)

    def artifact_types(self, path: str = "") -> Iterator[str]:
        """The types of artifacts of a project."""
        return self._loop.iterate(self._api.artifact_types(path))

    def reports(
        self, path: str = "", name: str | None = None, per_page: int = 50
    ) -> Iterator[asynchronous.Report]:
        """The reports of a project."""
        return self._loop.iterate(self._api.reports(path, name, per_page))
