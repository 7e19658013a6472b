"""Runs: how they are listed, and what a node of the list becomes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from functools import partial
from urllib.parse import quote

from engine.errors import CommError, ConfigError, EngineError, NotFound, Side, Transient
from engine.fingerprints import fingerprint
from engine.protocols import Unreadable
from engine.records import Code, Json, Namespace, Run, RunState, Selection
from engine.transfer.context import Context
from engine.transfer.throttling.retry import DEFAULT_POLICY, RetryPolicy, retrying
from engine.wandb.addresses import shown_url
from engine.wandb.client import WandbClient
from engine.wandb.jsontext import encode_json
from engine.wandb.mapping import WANDB, iso_time
from engine.wandb.reading import documents
from engine.wandb.reading.filters import EXAMPLE, normal
from engine.wandb.reading.pages import next_cursor, of_run
from engine.wandb.reading.values import milliseconds, parse, parse_object

PER_PAGE = 100
"""Runs in a page, each with its whole config and summary."""

OLDEST_FIRST = "+created_at"

SHRINKS_BY = 5
"""A page that the server cannot give is asked for in so many parts."""

_LARGE_PAGE_POLICY = RetryPolicy(attempts=3)
"""It may be the size that the server cannot cope with, so a smaller page is tried soon."""

PASSES = 5
"""Times that a list is read until it stays the same."""

UNKNOWN_ROW_BYTES = 4096
"""How long a row may be of a run whose summary tells nothing of that."""

_STATES = {"queued": RunState.PENDING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much of everything a run had when it was listed, None if that is not known.

    Attributes:
        row_bytes: about how much a row of the history takes.
    """

    rows: int | None = None
    events: int | None = None
    console_lines: int | None = None
    files: int | None = None
    artifacts: int | None = None
    row_bytes: int = UNKNOWN_ROW_BYTES


def counts_of(run: Run) -> Counts:
    """As the list told them; a run that comes from elsewhere has none."""
    return run.locator if isinstance(run.locator, Counts) else Counts()


def run_of(node: Mapping[str, Json], namespace: Namespace, base_url: str) -> Run:
    """A node of a list of runs.

    What W&B's client keeps in a config besides the values of the user is in ``extra["wandb"]``, which every
    run of W&B has: ``_wandb`` (definitions of metrics, custom charts, environments), ``raw`` (entries
    without a ``value``, such as ``wandb_version``), ``descriptions`` of keys, and the old ``description``
    of the run.

    A run has no time of its end; that of the last heartbeat is told if its state is final.

    Raises:
        ValueError: something in it is not what it should be.
    """
    config, internal = _config_of(parse_object(node["config"]))
    if node.get("description"):
        internal["description"] = node["description"]
    info, state = node.get("runInfo") or {}, node.get("state") or ""
    git = info.get("git") or {}
    heartbeat = milliseconds(node.get("heartbeatAt"))
    known = state in list(RunState)
    common = RunState(state) if known else _STATES.get(state, RunState.FINISHED)
    exit_code = node.get("exitcode")
    summary_text = node["summaryMetrics"]
    counts = Counts(
        rows=node.get("historyLineCount"),
        events=node.get("eventsLineCount"),
        console_lines=node.get("logLineCount"),
        files=node.get("fileCount"),
        artifacts=(node.get("outputArtifacts") or {}).get("totalCount"),
        row_bytes=max(128, len(summary_text)) if summary_text else UNKNOWN_ROW_BYTES,
    )
    run = Run(
        id=node["name"],
        namespace=namespace,
        name=node.get("displayName"),
        state=common,
        source_state=state or None,
        config=config,
        summary=parse_object(summary_text),
        tags=tuple(node.get("tags") or ()),
        notes=node.get("notes"),
        group=node.get("group"),
        job_type=node.get("jobType"),
        # Runs of accounts that were removed have no user.
        user=(node.get("user") or {}).get("username"),
        host=node.get("host"),
        started_at=milliseconds(node["createdAt"]),
        ended_at=heartbeat if common.is_final else None,
        heartbeat_at=heartbeat,
        exit_code=None if exit_code is None else int(exit_code),
        sweep=node.get("sweepName"),
        code=Code(
            program=info.get("program"),
            commit=node.get("commit") or git.get("commit"),
            remote=git.get("remote"),
        ),
        extra={WANDB: internal},
        url=run_url(base_url, namespace, node["name"]),
        locator=counts,
    )
    return replace(run, fingerprint=fingerprint(run, asdict(counts), node.get("updatedAt")))


def _config_of(stored: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """The values of the user, each unwrapped once, and the rest."""
    values: dict[str, Json] = {}
    rest: dict[str, dict[str, Json]] = {"raw": {}, "descriptions": {}}
    internal: dict[str, Json] = {}
    for key, entry in stored.items():
        if not isinstance(entry, dict) or "value" not in entry:
            rest["raw"][key] = entry
        elif key == "_wandb":
            internal["_wandb"] = entry["value"]
        else:
            values[key] = entry["value"]
            if entry.get("desc") is not None:
                rest["descriptions"][key] = entry["desc"]
    return values, internal | {name: found for name, found in rest.items() if found}


def run_url(base_url: str, namespace: Namespace, run_id: str) -> str:
    """Where a browser shows the run."""
    return f"{project_url(base_url, namespace)}/runs/{quote(run_id, safe='')}"


def project_url(base_url: str, namespace: Namespace) -> str:
    """Where a browser shows the project."""
    return "/".join(
        [shown_url(base_url), *(quote(part, safe="") for part in (namespace.entity, namespace.project))]
    )


def mongo_filter(selection: Selection) -> str:
    """The filter of a selection as the server takes it, whichever way its fields are spelled.

    Raises:
        ConfigError: it is no filter.
    """
    parts: list[Json] = []
    if selection.filter:
        try:
            asked = parse(selection.filter)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            raise ConfigError(
                f"the filter {selection.filter!r} is not a JSON object",
                side=Side.SOURCE,
                remedy=f"W&B takes filters like MongoDB's: {EXAMPLE}",
            )
        parts.append(normal(asked))
    if selection.since is not None:
        parts.append({"createdAt": {"$gte": iso_time(selection.since)}})
    if selection.ids:
        parts.append({"name": {"$in": list(selection.ids)}})
    if selection.states:
        parts.append({"state": {"$in": [state.lower() for state in selection.states]}})
    return encode_json(parts[0] if len(parts) == 1 else {"$and": parts} if parts else {})


async def list_runs(
    client: WandbClient, context: Context, namespace: Namespace, selection: Selection
) -> AsyncGenerator[Run | Unreadable]:
    """All runs of a project, each once, oldest first unless the selection has another order.

    Pages move while runs come and go, so a list that told of more runs than it gave, or of one twice, is
    read again until it has nothing new.
    """
    seen: set[str] = set()
    listing = Listing(
        client,
        namespace,
        documents.RUNS,
        filters=mongo_filter(selection),
        order=selection.order or OLDEST_FIRST,
    )
    for number in range(PASSES):
        new = 0
        async with aclosing(listing.nodes()) as nodes:
            async for node in nodes:
                run = node if isinstance(node, Unreadable) else _readable(node, namespace, client)
                if run.id in seen:
                    continue
                seen.add(run.id)
                new += 1
                if _too_old(run, selection.since):
                    continue
                yield run
        if listing.is_steady or (number and not new):
            return
    context.lose(
        "listing_unsteady",
        f"project {namespace}",
        f"runs kept coming and going while they were listed, {PASSES} times; some may be missing",
    )


def _too_old(run: Run | Unreadable, since: int | None) -> bool:
    return isinstance(run, Run) and since is not None and (run.started_at or 0) < since


def _readable(node: Mapping[str, Json], namespace: Namespace, client: WandbClient) -> Run | Unreadable:
    try:
        return run_of(node, namespace, client.base_url)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        unreadable = CommError(
            f"the server's answer makes no sense: {error}",
            side=client.side,
            subject=f"run {node['name']}",
            exc=error,
        )
        return Unreadable(node["name"], unreadable)


class Listing:
    """One list of runs, read any number of times.

    A page that the server cannot give, because it is too much for it or because of one run in it, is asked
    for in smaller ones; a run that it cannot give even alone is passed over.

    Args:
        document: what is asked of each run, with the variables of ``documents.RUNS``.
        per_page: runs in a page at most.

    Attributes:
        total: how many runs there are, as the last page told; None before the first.
        is_steady: whether the last reading gave as many runs as there are, and none twice.
    """

    def __init__(
        self,
        client: WandbClient,
        namespace: Namespace,
        document: str,
        *,
        filters: str,
        order: str = OLDEST_FIRST,
        per_page: int = PER_PAGE,
    ) -> None:
        self._client = client
        self._document = document
        self._subject = f"runs of {namespace}"
        self._variables: dict[str, Json] = {
            "entity": namespace.entity,
            "project": namespace.project,
            "order": order,
            "filters": filters,
        }
        self._most = self._per_page = per_page
        self.total: int | None = None
        self.is_steady = True

    async def nodes(self) -> AsyncGenerator[Mapping[str, Json] | Unreadable]:
        """All nodes of the list; ``Unreadable`` in the place of those that the server cannot give."""
        cursor: str | None = None
        given: set[str] = set()
        count = 0
        while True:
            found, error = await self._page(cursor)
            edges = found["runs"]["edges"]
            for edge in edges:
                name = edge["node"]["name"]
                count += 1
                given.add(name)
                yield edge["node"] if error is None else Unreadable(name, error)
            if (cursor := next_cursor(found["runs"], cursor, self._client, self._subject)) is None:
                self.is_steady = count == len(given) == self.total
                return

    async def _page(self, cursor: str | None) -> tuple[Mapping[str, Json], EngineError | None]:
        """A page, or the name of a run that cannot be had, and why."""
        while True:
            policy = DEFAULT_POLICY if self._per_page == 1 else _LARGE_PAGE_POLICY
            try:
                project = await retrying(partial(self._ask, self._document, cursor), policy)
            except (Transient, CommError) as error:
                # What is wrong with the question itself is wrong with a smaller one, too.
                if error.status is not None and error.status < 500:
                    raise
                if self._per_page == 1:
                    return await retrying(partial(self._ask, documents.RUN_NAMES, cursor)), error
                self._per_page = max(1, self._per_page // SHRINKS_BY)
            else:
                self._per_page = min(self._most, 2 * self._per_page)
                return project, None

    async def _ask(self, document: str, cursor: str | None) -> Mapping[str, Json]:
        variables = {**self._variables, "cursor": cursor, "perPage": self._per_page}
        data = await self._client.graphql(document, variables, self._subject, retry=False)
        project: Mapping[str, Json] | None = data.get("project")
        if project is None:
            raise NotFound(
                "the project is not there, or not open to you",
                side=self._client.side,
                subject=self._subject,
            )
        self.total = project["runCount"]
        return project


async def read_run(client: WandbClient, namespace: Namespace, run_id: str) -> Run:
    """One run.

    Raises:
        NotFound: there is none of this id.
        CommError: it cannot be understood.
    """
    subject = f"run {run_id}"
    variables = {"entity": namespace.entity, "project": namespace.project, "run": run_id}
    data = await client.graphql(documents.RUN, variables, subject)
    node = of_run(data, subject, client)
    found = _readable(node, namespace, client)
    if isinstance(found, Unreadable):
        raise found.error
    return found
