"""Lists of a tracking server: pages to the end, whatever one entry or a change meanwhile does to them."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import orjson

from engine.errors import CommError, ConfigError, IntegrityError, Side, Transient
from engine.mlflow.rest_api import TrackingApi
from engine.mlflow.rest_json import run_id_of, run_of
from engine.mlflow.store import DELETED, PARENT_RUN_ID, RawExperiment, RawRun
from engine.protocols import Unreadable
from engine.records import Json
from engine.transfer.throttling.retry import RetryPolicy, retrying

if TYPE_CHECKING:
    from engine.transfer.context import Context

EXPERIMENTS_PATH = "api/2.0/mlflow/experiments/search"
RUNS_PATH = "api/2.0/mlflow/runs/search"

PAGE = 1_000
"""Entries in a page: what MLflow's servers and Databricks both give."""

MAX_UNREADABLE = 50
"""Unreadable runs in one page, after which the server itself is taken to be broken."""

_LAST_WORD = RetryPolicy(attempts=5)


async def search(
    api: TrackingApi, path: str, body: Mapping[str, Json], items: str, subject: str
) -> AsyncGenerator[list[Json]]:
    """The pages of a search; the last one may be empty, as older servers give it.

    Raises:
        IntegrityError: the server's page tokens make no progress.
    """
    token = ""
    while True:
        answer = await api.post(path, _paged(body, token), subject=subject)
        yield answer.get(items, [])
        previous, token = token, answer.get("next_page_token") or ""
        if not token:
            return
        if token == previous:
            raise IntegrityError("the pages of the list make no progress", side=Side.SOURCE, subject=subject)


class RunListing:
    """The runs of one experiment, in ascending order of start time and id.

    MLflow pages by offset, so that entries shift when others come or go before them. Runs of all lifecycle
    stages are asked for and the deleted ones left out here, so that a deletion shifts nothing; new runs come
    at the end, because they start later. What remains, an older run that appears, repeats an entry of the
    page before: it is left out, and declared.

    Args:
        ui: URL of the server's pages for people.
        order: ascending start time, then id where the server can.
        offsets: whether page tokens hold an offset, as in MLflow's own servers, so that pages can be split.
    """

    def __init__(
        self, api: TrackingApi, context: Context, *, ui: str, order: Sequence[str], offsets: bool
    ) -> None:
        self._api = api
        self._context = context
        self._ui = ui
        self._order = list(order)
        self._offsets = offsets

    async def pages(
        self, experiment: RawExperiment, where: str | None, since: int | None, *, include_deleted: bool
    ) -> AsyncGenerator[list[RawRun | Unreadable]]:
        """Raises ``ConfigError`` if the server refuses the filter."""
        clauses = [where] if where else []
        if since is not None:
            clauses.append(f"attributes.start_time >= {since}")
        body = {
            "experiment_ids": [experiment.id],
            "filter": " and ".join(clauses),
            "run_view_type": "ALL",
            "max_results": PAGE,
            "order_by": self._order,
        }
        subject = f"experiment {experiment.name!r}"
        token = ""
        last_page: set[str] = set()
        while True:
            previous = token
            runs, token = await self._page(body, token, subject, where)
            if token and token == previous:
                raise IntegrityError(
                    "the pages of the runs make no progress", side=Side.SOURCE, subject=subject
                )
            ids = {run.id for run in runs}
            if repeated := ids & last_page:
                self._context.lose(
                    "listing_moved",
                    subject,
                    "runs were added while others were listed: transfer once more to be sure of all",
                    len(repeated),
                )
            yield [
                run
                for run in runs
                if run.id not in last_page
                and (include_deleted or isinstance(run, Unreadable) or run.lifecycle_stage != DELETED)
            ]
            if not token:
                return
            last_page = ids

    async def _page(
        self, body: Mapping[str, Json], token: str, subject: str, where: str | None
    ) -> tuple[list[RawRun | Unreadable], str]:
        try:
            try:
                answer = await self._post(_paged(body, token), subject, retry=False)
            except Transient as error:
                # One run that the server itself cannot read makes it fail for the page that the run is on.
                offset = _offset_of(token) if self._offsets and error.status == 500 else None
                if offset is not None:
                    return await self._around(body, offset, subject)
                answer = await self._post(_paged(body, token), subject)
        except CommError as error:
            if where and error.status == 400:
                raise ConfigError(
                    f"the server refuses the run filter {where!r}: {error.message}",
                    side=Side.SOURCE,
                    subject=subject,
                    remedy="write it as for MLflow's search: metrics.loss < 0.1 and params.lr = '0.01'",
                    exc=error,
                ) from error
            raise
        return [self._run(json) for json in answer.get("runs", ())], answer.get("next_page_token") or ""

    async def _post(
        self, body: Mapping[str, Json], subject: str, *, retry: bool = True
    ) -> Mapping[str, Json]:
        return await self._api.post(RUNS_PATH, body, subject=subject, retry=retry)

    async def _around(
        self, body: Mapping[str, Json], offset: int, subject: str
    ) -> tuple[list[RawRun | Unreadable], str]:
        """A page that failed, in halves, so that only the runs that are to blame are missing.

        A server looks one run ahead to see whether there are more. Where that is what fails, the run before
        the one to blame is missing too.
        """
        runs: list[RawRun | Unreadable] = []
        unreadable = 0
        todo = [(offset, PAGE)]
        while todo:
            start, count = todo.pop()
            part = _paged({**body, "max_results": count}, _token_of(start))
            try:
                if count > 1:
                    answer = await self._post(part, subject, retry=False)
                else:
                    # Patience before a run is condemned: the server may just be ill.
                    answer = await retrying(partial(self._post, part, subject, retry=False), _LAST_WORD)
            except Transient as error:
                if error.status != 500:
                    raise
                if count > 1:
                    half = count // 2
                    todo += [(start + half, count - half), (start, half)]
                    continue
                unreadable += 1
                if unreadable > MAX_UNREADABLE:
                    raise
                runs.append(Unreadable(f"number {start + 1} by start time of {subject}", error))
            else:
                runs += map(self._run, answer.get("runs", ()))
        return runs, _token_of(offset + PAGE) if len(runs) == PAGE else ""

    def _run(self, json: Json) -> RawRun | Unreadable:
        try:
            return run_of(json, self._ui)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            run_id = run_id_of(json) or "without an id"
            return Unreadable(
                run_id,
                CommError(
                    f"the server's answer lacks what a run has: {type(error).__name__} {error}",
                    side=Side.SOURCE,
                    subject=f"run {run_id}",
                    exc=error,
                ),
            )


async def parent_ids(api: TrackingApi, experiment_id: str) -> set[str]:
    """The ids that runs of an experiment name as their parent: one paged search for nested runs."""
    body = {
        "experiment_ids": [experiment_id],
        "filter": f"tags.`{PARENT_RUN_ID}` LIKE '%'",
        "run_view_type": "ALL",
        "max_results": PAGE,
    }
    found: set[str] = set()
    async for page in search(api, RUNS_PATH, body, "runs", f"experiment {experiment_id}"):
        found |= {_tag(json, PARENT_RUN_ID) for json in page}
    return found - {""}


async def runs_by_id(
    api: TrackingApi, experiment_ids: Sequence[str], run_ids: Sequence[str]
) -> AsyncGenerator[RawRun]:
    """Those of the runs that are in one of the experiments."""
    quoted = ", ".join(f"'{run_id}'" for run_id in run_ids)
    body = {
        "experiment_ids": list(experiment_ids),
        "filter": f"attributes.run_id IN ({quoted})",
        "run_view_type": "ALL",
        "max_results": PAGE,
    }
    async for page in search(api, RUNS_PATH, body, "runs", f"{len(run_ids)} parent runs"):
        for json in page:
            yield run_of(json, api.url)


def _tag(run: Json, key: str) -> str:
    return next((tag.get("value", "") for tag in run["data"].get("tags", ()) if tag["key"] == key), "")


def _paged(body: Mapping[str, Json], token: str) -> Mapping[str, Json]:
    return {**body, "page_token": token} if token else body


def _offset_of(token: str) -> int | None:
    """The offset that a page token of MLflow's own server holds (``SearchUtils.create_page_token``)."""
    if not token:
        return 0
    try:
        offset = orjson.loads(base64.b64decode(token, validate=True))["offset"]
    except (ValueError, KeyError, TypeError):
        return None
    return offset if isinstance(offset, int) else None


def _token_of(offset: int) -> str:
    """The reverse; servers refuse a token of offset 0."""
    if offset == 0:
        return ""
    return base64.b64encode(orjson.dumps({"offset": offset})).decode()
