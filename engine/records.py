"""The neutral model: what every experiment tracker has, in one vocabulary.

Sources produce these records, destinations apply them, the kernel only carries them.
All are frozen and free of I/O. Times are integers, milliseconds since the Unix epoch, UTC;
sizes are bytes; digests are base64 MD5, the form that S3 and W&B use on the wire.
A record keeps what the source said; what a destination cannot hold is its own business to declare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

Json: TypeAlias = Any
"""A JSON value; floats may be NaN or infinite, which the wire formats of all sides can carry."""


@dataclass(frozen=True, slots=True, order=True)
class Namespace:
    """Where runs live: a W&B ``entity/project``, or an MLflow ``workspace/experiment``.

    ``entity`` is empty where a system has none, as in an MLflow server without workspaces.
    """

    entity: str
    project: str

    @classmethod
    def from_path(cls, path: str) -> Self:
        """Parse ``entity/project``; the project may hold further slashes.

        Raises:
            ValueError: the path has no slash.
        """
        entity, slash, project = path.partition("/")
        if not slash or not entity or not project:
            raise ValueError(f"expected entity/project, got {path!r}")
        return cls(entity, project)

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}" if self.entity else self.project

    def __str__(self) -> str:
        return self.path


class RunState(StrEnum):
    """What became of a run, in W&B's words; MLflow's five statuses map into these."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    KILLED = "killed"
    PREEMPTING = "preempting"
    PREEMPTED = "preempted"

    @property
    def is_final(self) -> bool:
        """Whether nothing more is to be expected of the run."""
        return self in (RunState.FINISHED, RunState.FAILED, RunState.CRASHED, RunState.KILLED)

    @property
    def is_live(self) -> bool:
        """Whether somebody may be writing to the run right now."""
        return self in (RunState.RUNNING, RunState.PREEMPTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What is said of a registry: a place of portfolios that belongs to an organisation.

    Attributes:
        access: who may see it, in the word of the source.
        types: of the artifacts that it takes; None if it takes any.
    """

    namespace: Namespace
    description: str | None = None
    access: str | None = None
    types: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A container of runs: a W&B project or an MLflow experiment.

    Attributes:
        registry: what it is besides, if its runs are none and it only holds portfolios.
    """

    namespace: Namespace
    id: str
    description: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int | None = None
    deleted: bool = False
    registry: Registry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInput:
    """A dataset that a run read; ``context`` is for example ``training``."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    context: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What was run: the program, and the commit that it was run from."""

    program: str | None = None
    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    entry_point: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run without its history, files and artifacts.

    Attributes:
        id: the id at the source; destinations keep it unless told otherwise.
        state: nearest common state; ``source_state`` has the source's own word.
        config: hyperparameters, by name. MLflow params are strings unless parsing was asked for.
        summary: final values. None if the source has none of its own, so that it follows from the history.
        labels: key/value tags (MLflow tags, without those that have a field of their own here).
        tags: plain tags (W&B tags).
        group: what the run is shown together with; for a nested run its root.
        parent_id: the run that this one is nested in, as the source tells it, even if that run is gone.
        heartbeat_at: when the source last heard from the run.
        exit_code: of the process.
        sweep: id of the search that started the run.
        extra: facts that have no field here but must survive, JSON, by name; kept as provenance.
        locator: what the source needs to find the history again; private to the source.
        fingerprint: equal to that of an earlier listing if nothing that the source lists of this run has
            changed since; None if the source cannot tell, so that the run is applied each time.
    """

    id: str
    namespace: Namespace
    name: str | None = None
    state: RunState = RunState.FINISHED
    source_state: str | None = None
    config: Mapping[str, Json] = field(default_factory=dict)
    summary: Mapping[str, Json] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    user: str | None = None
    host: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    heartbeat_at: int | None = None
    exit_code: int | None = None
    sweep: str | None = None
    parent_id: str | None = None
    deleted: bool = False
    code: Code = Code()
    inputs: tuple[DatasetInput, ...] = ()
    extra: Mapping[str, Json] = field(default_factory=dict)
    url: str | None = None
    locator: object = field(default=None, repr=False)
    fingerprint: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoints:
    """A part of a history in long form: one line a point, as MLflow stores it.

    ``batch`` is an Arrow record batch of exactly these columns, none of them nullable:
    ``key`` dictionary<int32, string>, ``step`` int64, ``timestamp`` int64 (ms), ``value`` float64.
    Points come in any order. A chunk has at most ``CHUNK_POINTS`` of them.
    """

    CHUNK_POINTS = 65_536

    batch: pa.RecordBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRows:
    """A part of a history in wide form: one JSON object a row, as W&B stores it, in order.

    ``first`` is the number of the first row, so that a part can be sent again without doubling.
    """

    CHUNK_ROWS = 4_096

    first: int
    rows: Sequence[Mapping[str, Json]]


HistoryChunk: TypeAlias = MetricPoints | HistoryRows


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleLine:
    """A line that a run wrote to its console.

    Attributes:
        time: ISO 8601 as the source has it, which may be finer than milliseconds.
        level: the source's word, ``error`` for what came from stderr; None for anything else.
        label: which of several processes wrote it.
    """

    text: str
    time: str | None = None
    level: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleLines:
    """A part of what a run wrote to its console, in order."""

    CHUNK_LINES = 1_000

    lines: Sequence[ConsoleLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySize:
    """How long the history of a run is, found out without reading it.

    Attributes:
        points: values in it.
        exact: whether ``points`` was counted rather than estimated.
        rows: different steps at least; the rows that a destination makes of it are about as many.
        keys: the names of its metrics.
        repeated: points whose key had a value on that step before; None if that is not known.
        lowest_step, highest_step: None if that is not known, or there are no points.
        requests: what reading it takes; less than one where a request tells several histories.
    """

    points: int
    exact: bool = True
    rows: int = 0
    keys: tuple[str, ...] = ()
    repeated: int | None = None
    lowest_step: int | None = None
    highest_step: int | None = None
    requests: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Some bytes that a source can read.

    Attributes:
        path: the logical name, POSIX separators, relative. Never used as a name on a local disk.
        size: bytes, None if the source does not tell.
        md5: base64 MD5 of the bytes, if the source knows it.
        locator: how the source finds the bytes again; private to the source.
        local_path: the file itself where the source is a local disk, so that it can be read in place.
    """

    path: str
    size: int | None = None
    md5: str | None = None
    locator: str = field(default="", repr=False)
    local_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile(Blob):
    """A file of a run that belongs to no artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactEntry(Blob):
    """One file or reference of an artifact version.

    Attributes:
        ref: the URI of a reference entry, which has no bytes to move.
        digest: the digest of a reference entry, as W&B keeps it (an ETag, a checksum, or the URI).
        extra: what the manifest notes of a reference, for example its ``etag``.
    """

    ref: str | None = None
    digest: str | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One version of an artifact, without its entries.

    Attributes:
        name: the collection. Sources propose a name; destinations escape what they must.
        version: the number at the source, None if the source does not number.
        run_id: the run that made it.
        digest: of the whole version, in the source's own form.
        ttl_s: for how long it is kept, None as its surroundings have it, 0 for ever whatever they have.
        locator: how the source finds the entries again; private to the source.
    """

    namespace: Namespace
    name: str
    type: str
    run_id: str | None = None
    version: int | None = None
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    created_at: int | None = None
    digest: str | None = None
    ttl_s: int | None = None
    locator: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A sequence of artifact versions, whichever runs made them.

    Attributes:
        type: of all its versions.
        client_ids: other ids by which rows and summaries of runs speak of it.
        spoken_in: the projects of those runs; its own if there are none.
        locator: how the source finds it again; private to the source.
    """

    namespace: Namespace
    name: str
    type: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()
    spoken_in: tuple[Namespace, ...] = ()
    locator: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class RunRef:
    """A run, wherever it is."""

    namespace: Namespace
    id: str


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """That a run used a version under a name, as what it took it.

    One run may use a version under several names; most give none.
    """

    run: RunRef
    name: str


@dataclass(frozen=True, slots=True, order=True)
class VersionRef:
    """An artifact version, wherever it is: the collection that owns it, and its number there."""

    namespace: Namespace
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:v{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One artifact version of a collection, and its lineage.

    Attributes:
        made_by: the run that logged it, even if that is gone; None if a person made it.
        used_by: the runs that read it.
        used_as: the names under which some of them did.
        step: where the run stood that logged it, as the source counts.
        client_ids: other ids by which rows and summaries of runs speak of it.
        spoken_in: the projects of those runs; its own if there are none.
        portfolios: where it is linked; it is enough if they tell how they can be found.
    """

    artifact: Artifact
    made_by: RunRef | None = None
    step: int | None = None
    used_by: tuple[RunRef, ...] = ()
    used_as: tuple[Use, ...] = ()
    client_ids: tuple[str, ...] = ()
    spoken_in: tuple[Namespace, ...] = ()
    portfolios: tuple[Collection, ...] = ()

    @property
    def number(self) -> int:
        assert self.artifact.version is not None, "versions of a collection have numbers"
        return self.artifact.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A version as a member of a portfolio.

    Attributes:
        number: that it has there.
        target: the version itself.
        aliases: that it has there.
    """

    number: int
    target: VersionRef
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """A collection of links to versions that other collections own, as registries have them.

    Attributes:
        collection: what is said of it.
        links: in the order of their numbers.
        registry: that it belongs to; None if it belongs to a project like others.
    """

    collection: Collection
    links: tuple[Link, ...] = ()
    registry: Registry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which part of a source to take.

    Attributes:
        projects: names, ids, or ``re:REGEX`` patterns of projects/experiments; empty means all.
        filter: run filter in the source's own language (MLflow filter string, W&B Mongo JSON).
        since: only runs that started at or after this time (ms).
        limit: at most this many runs; a transfer does not count those that it finds to have arrived before.
        include_deleted: also experiments and runs in the trash.
        live: also runs that go on, as far as they are.
        ids: only runs with these ids; empty means all.
        states: only runs in these states, in the words of ``RunState`` or of the source; empty means all.
        order: ``+key`` or ``-key``, in the source's own language; None is its usual one. Not every source has
            orders.
    """

    projects: tuple[str, ...] = ()
    filter: str | None = None
    since: int | None = None
    limit: int | None = None
    include_deleted: bool = False
    live: bool = True
    ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    order: str | None = None

    @property
    def is_partial(self) -> bool:
        """Whether it may name some runs of a project and not others."""
        whole = self.filter is None and self.since is None and self.limit is None and self.live
        return not whole or bool(self.ids or self.states)

    def takes(self, run: Run) -> bool:
        """What a source need not ask its store for: which run it is, its state, and whether it may go on."""
        if self.ids and run.id not in self.ids:
            return False
        if self.states:
            own = {str(run.state), (run.source_state or "").lower()}
            if own.isdisjoint(state.lower() for state in self.states):
                return False
        return self.live or not run.state.is_live


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemInfo:
    """What a side said of itself when it was asked the first time.

    Attributes:
        uri: the URI, without secrets.
        product: for example ``MLflow server`` or ``W&B``.
        version: of the product or of the schema.
        identity: who we are there, if it has users.
        notes: consequences of features that it lacks, one sentence each.
        server: the same for any two URIs of one installation, so that source and destination can be told
            apart; None if only the whole URI says where it is.
        origin: the URI that the runs first came from, if this only keeps them for another system.
        origin_server: ``server`` of that system.
    """

    uri: str
    product: str
    version: str | None = None
    identity: str | None = None
    notes: tuple[str, ...] = ()
    server: str | None = None
    origin: str | None = None
    origin_server: str | None = None

    @property
    def first_server(self) -> str | None:
        """``server`` of where the runs first came from."""
        return self.origin_server or self.server


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One value that did not arrive exactly as it was: dropped, renamed, truncated or coerced.

    Attributes:
        kind: a stable word, for example ``key_renamed``, ``steps_resequenced``, ``tag_dropped``.
        subject: the object, for example ``run 4f1c``.
        detail: what it was and what became of it.
        count: how many values this stands for.
    """

    kind: str
    subject: str
    detail: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a destination acknowledged for one item.

    Attributes:
        skipped: True if the destination already held it and nothing was sent.
        note: what ``RunWriter.resume`` is given if a later transfer opens the run again without this part;
            None if the part then has to be written again.
    """

    items: int = 0
    points: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0
    skipped: bool = False
    note: Json | None = None
