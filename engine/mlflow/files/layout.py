"""Where the file store keeps what, and in which form.

    <root>/[.trash/]<experiment>/meta.yaml, tags/<key>, datasets/<id>/meta.yaml
                                /<run>/meta.yaml, params/<key>, tags/<key>, metrics/<key>,
                                       inputs/<id>/meta.yaml, outputs/<id>/meta.yaml, artifacts/

A key with slashes is a path of directories. Deleted experiments are in ``.trash``, deleted runs stay.
As read and written by ``mlflow/store/tracking/file_store.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CommError
from engine.mlflow.artifacts import local_path
from engine.mlflow.files.disk import Disk, broken, explain
from engine.mlflow.files.metrics import latest_metric
from engine.mlflow.store import (
    ACTIVE,
    DATASET_CONTEXT,
    DELETED,
    PARENT_RUN_ID,
    Kin,
    RawExperiment,
    RawModel,
    RawRun,
)
from engine.mlflow.text import Lose
from engine.records import DatasetInput, Json

META = "meta.yaml"
TRASH = ".trash"
_NOT_RUNS = frozenset({"tags", "datasets", "traces", "models"})
_RUN_PARTS = ("metrics", "params", "tags")
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_START_TIME = re.compile(rb"^start_time: (-?\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class RunPlace:
    """Where a run is, in the order in which runs are listed."""

    start_time: int
    id: str
    path: Path


class Layout:
    """Reads one file store. Everything here blocks."""

    def __init__(self, root: Path, lose: Lose) -> None:
        self.disk = Disk(root, lose)
        self._lose = lose

    def experiment_paths(self, *, include_deleted: bool) -> list[Path]:
        """The directories of all experiments, by ascending id."""
        roots = [self.disk.root, self.disk.root / TRASH] if include_deleted else [self.disk.root]
        found = [path for root in roots for path in self.disk.directories(root) if (path / META).is_file()]
        return sorted(found, key=lambda path: (int(path.name) if path.name.isdecimal() else -1, path.name))

    def experiment(self, path: Path) -> RawExperiment:
        """An experiment; with a broken ``meta.yaml`` it goes by its id, so that its runs are found."""
        deleted = path.parent.name == TRASH
        try:
            meta = _Meta(self.disk, path / META)
            tags = self._texts(path / "tags")
            return RawExperiment(
                id=path.name,
                name=meta.text("name") or path.name,
                artifact_location=meta.text("artifact_location"),
                lifecycle_stage=DELETED if deleted else meta.text("lifecycle_stage") or ACTIVE,
                creation_time=meta.integer("creation_time"),
                last_update_time=meta.integer("last_update_time"),
                tags=tags,
            )
        except (CommError, OSError) as error:
            self._lose("experiment_unreadable", f"experiment {path.name}", f"goes by its id: {error}")
            return RawExperiment(id=path.name, name=path.name, lifecycle_stage=DELETED if deleted else ACTIVE)

    def experiment_path(self, experiment_id: str) -> Path:
        """The directory of an experiment, also of a deleted one."""
        path = self.disk.root / experiment_id
        return path if path.is_dir() else self.disk.root / TRASH / experiment_id

    def run_places(self, experiment_id: str) -> list[RunPlace]:
        """The runs of an experiment by (start time, id), without reading them."""
        places = [
            RunPlace(_start_time(path / META), path.name, path)
            for path in self.disk.directories(self.experiment_path(experiment_id))
            if path.name not in _NOT_RUNS and _is_run(path)
        ]
        return sorted(places)

    def run(self, path: Path) -> RawRun:
        """A run with all but its history.

        Raises:
            CommError: something of it is broken; it says what and where.
        """
        meta = _Meta(self.disk, path / META)
        experiment_id = meta.text("experiment_id")
        if experiment_id != path.parent.name:
            raise broken(
                f"the run says that it belongs to experiment {experiment_id}, but lies in {path.parent.name}",
                str(path / META),
            )
        latest = {}
        for key, file in self.disk.files(path / "metrics"):
            if (point := latest_metric(file)) is not None:
                latest[key] = point
        return RawRun(
            id=path.name,
            experiment_id=path.parent.name,
            name=meta.text("run_name") or meta.text("name"),
            status=meta.status(),
            start_time=meta.integer("start_time"),
            end_time=meta.integer("end_time"),
            user_id=meta.text("user_id"),
            lifecycle_stage=meta.text("lifecycle_stage") or ACTIVE,
            artifact_uri=_artifact_uri(meta.text("artifact_uri"), path),
            params=self._texts(path / "params"),
            tags=self._texts(path / "tags"),
            latest=latest,
            inputs=tuple(sorted(self._datasets(path), key=lambda each: (each.name, each.digest))),
            model_inputs=tuple(
                RawModel(model_id=link.require("source_id"))
                for link in self._links(path / "inputs")
                if link.text("source_type") == "MODEL"
            ),
            model_outputs=tuple(
                RawModel(model_id=link.require("destination_id"), step=link.integer("step"))
                for link in self._links(path / "outputs")
            ),
        )

    def lifecycle_stage(self, path: Path) -> str:
        return _Meta(self.disk, path / META).text("lifecycle_stage") or ACTIVE

    def parent_of(self, path: Path) -> str | None:
        """The parent that a run names."""
        try:
            return self.disk.text(path / "tags" / PARENT_RUN_ID) or None
        except FileNotFoundError:
            return None

    def kin(self, run_id: str) -> Kin | None:
        """Name and parent of a run of any experiment; None if there is no such run."""
        # Ids come from tags, which anyone may write.
        if not re.fullmatch(r"[\w-]+", run_id):
            return None
        for experiment in self.experiment_paths(include_deleted=True):
            path = experiment / run_id
            if (path / META).is_file():
                try:
                    meta = _Meta(self.disk, path / META)
                    return Kin(meta.text("run_name") or meta.text("name"), self.parent_of(path))
                except CommError:
                    # It is reported when it is listed itself; here it is as good as missing.
                    return None
        return None

    def _texts(self, path: Path) -> Mapping[str, str]:
        return {key: self.disk.text(file) for key, file in self.disk.files(path)}

    def _links(self, path: Path) -> Iterator[_Meta]:
        for directory in self.disk.directories(path):
            yield _Meta(self.disk, directory / META)

    def _datasets(self, run: Path) -> Iterator[DatasetInput]:
        for link in self._links(run / "inputs"):
            if link.text("source_type") != "DATASET":
                continue
            path = run.parent / "datasets" / Path(link.require("source_id")).name / META
            if not path.is_file():
                self._lose("dataset_missing", f"run {run.name}", f"its input {path.parent.name} is not there")
                continue
            dataset = _Meta(self.disk, path)
            tags = {str(key): str(value) for key, value in link.mapping("tags").items()}
            yield DatasetInput(
                name=dataset.require("name"),
                digest=dataset.require("digest"),
                source_type=dataset.text("source_type") or "",
                source=dataset.text("source") or "",
                schema=dataset.text("schema"),
                profile=dataset.text("profile"),
                context=tags.pop(DATASET_CONTEXT, None),
                tags=tags,
            )


class _Meta:
    """A ``meta.yaml``, whose values are checked as they are taken."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._path = path
        self._values = disk.yaml(path)

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        # What somebody wrote by hand without quotes.
        if isinstance(value, bool | int | float):
            return str(value)
        raise broken(f"{name} is no text", str(self._path))

    def require(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise broken(f"{name} is missing", str(self._path))
        return value

    def integer(self, name: str) -> int | None:
        value = self._values.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise broken(f"{name} is no integer", str(self._path))

    def mapping(self, name: str) -> Mapping[str, Json]:
        value = self._values.get(name) or {}
        if not isinstance(value, dict):
            raise broken(f"{name} is no mapping", str(self._path))
        return value

    def status(self) -> str:
        """MLflow's word for the number of its protocol's enumeration that is stored."""
        value = self._values.get("status")
        return _STATUS.get(value, str(value)) if isinstance(value, int) else self.text("status") or ""


def _is_run(path: Path) -> bool:
    """Artifacts of a server may lie beside the runs; MLflow passes over them as well."""
    return (path / META).is_file() or any((path / part).is_dir() for part in _RUN_PARTS)


def _start_time(path: Path) -> int:
    """The start time, quickly; 0 if there is none, or if the file is not as MLflow writes it."""
    try:
        found = _START_TIME.search(path.read_bytes())
    except OSError as error:
        # The run is reported when it is read.
        if explain(error) is None:
            raise
        return 0
    return int(found[1]) if found else 0


def _artifact_uri(stored: str | None, run: Path) -> str | None:
    """Where the artifacts are: in a store that was moved, beside the run rather than where they once were."""
    beside = run / "artifacts"
    if not stored:
        return beside.as_uri()
    path = local_path(stored)
    return beside.as_uri() if path is not None and not path.is_dir() and beside.is_dir() else stored
