"""Files, artifacts, collections and sweeps without ``await``; attributes are read through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine.records import ArtifactEntry, RunRef
from engine.sync.loop import Loop
from engine.wandb.api import artifacts, files, sweeps

if TYPE_CHECKING:
    from engine.sync.run import Run
    from engine.sync.runs import Runs

T = TypeVar("T")


class Twin(Generic[T]):
    """Something that another does; its attributes are read through."""

    def __init__(self, loop: Loop, twin: T) -> None:
        self._loop = loop
        self._twin = twin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._twin, name)

    def __repr__(self) -> str:
        return repr(self._twin)


class File(Twin[files.File]):
    """A file of a run."""

    def download(self, root: str | Path = ".", replace: bool = False, exist_ok: bool = False) -> Path:
        """Put it under ``root``; the path is returned, where the SDK returns an open text file."""
        return self._loop.run(self._twin.download(root, replace=replace, exist_ok=exist_ok))

    def read(self) -> bytes:
        """All of it."""
        return self._loop.run(self._twin.read())

    def delete(self) -> None:
        """Remove it from the server."""
        self._loop.run(self._twin.delete())


class Artifact(Twin[artifacts.Artifact]):
    """A version of an artifact."""

    def entries(self) -> Iterator[ArtifactEntry]:
        """What its manifest lists."""
        return self._loop.iterate(self._twin.entries())

    def manifest(self) -> dict[str, ArtifactEntry]:
        """The entries by path."""
        return self._loop.run(self._twin.manifest())

    def download(self, root: str | Path | None = None, path_prefix: str = "", replace: bool = False) -> Path:
        """Put its files under ``root``, each checked."""
        work = self._twin.download(root, path_prefix=path_prefix, replace=replace)
        return self._loop.run(work)

    def logged_by(self) -> RunRef | None:
        """The run that made it."""
        return self._loop.run(self._twin.logged_by())

    def used_by(self) -> list[RunRef]:
        """The runs that read it."""
        return self._loop.run(self._twin.used_by())


class Collection(Twin[artifacts.Collection]):
    """A sequence of versions."""

    def versions(self, per_page: int = artifacts.PER_PAGE) -> Iterator[Artifact]:
        """Its versions, the newest first."""
        return (Artifact(self._loop, one) for one in self._loop.iterate(self._twin.versions(per_page)))


class Sweep(Twin[sweeps.Sweep]):
    """A search over hyperparameters."""

    @property
    def runs(self) -> Runs:
        """Its runs."""
        from engine.sync.runs import Runs

        return Runs(self._loop, self._twin.runs())

    def best_run(self, order: str | None = None) -> Run | None:
        """The run that is best by ``order``, or by the metric of the config."""
        from engine.sync.run import Run

        found = self._loop.run(self._twin.best_run(order))
        return None if found is None else Run(self._loop, found)
