"""The collections of an archive, as they were at its source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.archive.codec import record_of
from engine.archive.keeping import DAMAGE, listed_records, read_record
from engine.archive.layout import COLLECTION, Layout
from engine.errors import NotFound
from engine.records import Artifact, Collection, Json, Namespace, Run, Version


@dataclass(slots=True)
class CollectionReader:
    """Reads records of collections; all methods are to be called in a thread."""

    layout: Layout
    _of_runs: dict[Namespace, Mapping[str, Sequence[Artifact]]] = field(default_factory=dict)
    """By runs, of the project that was asked for last."""

    def read(self, listed: Collection) -> tuple[Collection, tuple[Version, ...]]:
        """A collection and its versions in the order of their numbers.

        Raises:
            NotFound: there is none of this name and type.
            IntegrityError: its record is damaged.
        """
        path = self._path(listed)
        record = read_record(self.layout, path, COLLECTION, {"type": listed.type, "name": listed.name})
        if not record:
            raise NotFound("it is not in the archive", side=self.layout.side, subject=f"artifact {listed}")
        try:
            collection = record_of(Collection, record[COLLECTION])
            return replace(collection, namespace=listed.namespace), tuple(self._versions(record))
        except DAMAGE as error:
            raise self.layout.damaged(path, error) from error

    def _path(self, listed: Collection) -> Path:
        return self.layout.collection(listed.namespace, listed.type, listed.name).record

    def _versions(self, record: Mapping[str, Json]) -> list[Version]:
        found: dict[int, Version] = {}
        for told in record["versions"].values():
            version = record_of(Version, told["version"])
            if not isinstance(version.artifact.version, int):
                raise TypeError("a version has no number")
            located = replace(version.artifact, locator=str(told["entries"]["sha256"]))
            found[version.number] = replace(version, artifact=located)
        return [found[number] for number in sorted(found)]

    def made_by(self, run: Run) -> Sequence[Artifact]:
        """The versions that a run logged, by collection and number.

        Raises:
            IntegrityError: a collection of its project cannot be read.
        """
        if run.namespace not in self._of_runs:
            self._of_runs = {run.namespace: self._by_runs(run.namespace)}
        return self._of_runs[run.namespace].get(run.id, ())

    def _by_runs(self, namespace: Namespace) -> Mapping[str, Sequence[Artifact]]:
        found: dict[str, list[Artifact]] = defaultdict(list)
        collections, error = listed_records(self.layout, namespace, COLLECTION)
        if error is not None:
            raise error
        for collection in collections:
            for version in self.read(collection)[1]:
                if version.made_by is not None and version.made_by.namespace == namespace:
                    found[version.made_by.id].append(version.artifact)
        return found

    def holds(self, artifact: Artifact, run: Run) -> bool:
        """Whether a version that is kept with a run is in a collection, too."""
        listed = Collection(namespace=run.namespace, name=artifact.name, type=artifact.type)
        if artifact.version is None or not self._path(listed).is_file():
            return False
        return any(version.number == artifact.version for version in self.read(listed)[1])
