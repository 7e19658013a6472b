"""The front door: one connection to one server, and everything that can be asked through it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from engine.errors import ConfigError, Side
from engine.http import READ_TIMEOUT_S
from engine.records import Json, Project
from engine.transfer.context import Context
from engine.transfer.throttling.throttle import Throttles
from engine.wandb import uri
from engine.wandb.api import artifacts as versions
from engine.wandb.api import paths
from engine.wandb.api.artifacts import Artifact, Collection
from engine.wandb.api.errors import comm_errors, raising_comm_errors
from engine.wandb.api.paths import Defaults
from engine.wandb.api.reports import Report, list_reports
from engine.wandb.api.run import Run, find_run
from engine.wandb.api.runs import PER_PAGE, Runs
from engine.wandb.api.session import Session
from engine.wandb.api.sweeps import Sweep, find_sweep, list_sweeps
from engine.wandb.client import connect
from engine.wandb.documents import ORGANIZATIONS
from engine.wandb.reading.projects import list_projects
from engine.wandb.reading.registries import PREFIX, organization_entities

PATIENCE_S = 60.0
"""A server that is gone is waited for so long; somebody sits in front of this."""


class Api:
    """W&B's public API, asynchronous.

    async with engine.Api() as api:
        async for run in api.runs("entity/project", {"state": "finished"}):
            print(run.name, run.summary["loss"])

    Args:
        api_key: None to find it as the SDK does: ``WANDB_API_KEY``, netrc, ``WANDB_IDENTITY_TOKEN_FILE``.
        base_url: None for ``WANDB_BASE_URL``, the SDK's settings files, or the public service.
        entity, project: what is meant by paths that leave them out; None for ``WANDB_ENTITY``,
            ``WANDB_PROJECT``, the account's own entity.
        timeout: seconds that the server may be silent; None for ``WANDB_HTTP_TIMEOUT`` or a minute.
        accept: kinds of loss to take instead of an error: ``history_rows_missing``, where the server gives
            fewer rows of a history than it counts.

    Raises:
        ConfigError: the address or the timeout makes no sense; on entering: there are no credentials.
        AuthError: on entering: the server does not know them.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        timeout: float | None = None,
        accept: Iterable[str] = (),
    ) -> None:
        self.base_url = uri.api_url(base_url) if base_url else uri.default_base_url(os.environ)
        self._api_key = api_key
        self._entity = entity or os.environ.get("WANDB_ENTITY") or None
        self._project = project or os.environ.get("WANDB_PROJECT") or None
        self._timeout_s = _timeout(timeout)
        self._accepted = frozenset(accept)
        self._session: Session | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            # Not a TemporaryDirectory: at the end of a program that would be gone, with a warning, before us.
            spool = tempfile.mkdtemp(prefix="engine-api-")
            stack.callback(shutil.rmtree, spool, ignore_errors=True)
            context = Context(
                spool=Path(spool),
                throttles=Throttles(patience_s=PATIENCE_S),
                patience_s=PATIENCE_S,
                accepted=self._accepted,
            )
            client = await stack.enter_async_context(
                connect(self.base_url, self._api_key, context, Side.SOURCE, read_timeout_s=self._timeout_s)
            )
            with comm_errors():
                identity = await client.identify()
            defaults = Defaults(self.base_url, self._entity or identity.entity, self._project)
            self._session = Session(client, context, identity, defaults)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._session = None
        await self._open.aclose()

    @property
    def _on(self) -> Session:
        if self._session is None:
            raise ConfigError(
                "the Api is not open", remedy="use it inside of `async with engine.Api() as api:`"
            )
        return self._session

    @property
    def default_entity(self) -> str | None:
        """What is meant by paths without an entity."""
        return self._on.defaults.entity

    @property
    def viewer(self) -> str | None:
        """The name of the account whose key is used."""
        return self._on.identity.username

    def flush(self) -> None:
        """Nothing: an ``Api`` remembers no answers, so there is nothing to forget.

        It is here because scripts for the SDK call it. A run keeps what it was when it was asked for; ask for
        it again, or ``await run.load()``.
        """

    @raising_comm_errors
    async def run(self, path: str) -> Run:
        """A run: ``entity/project/run_id``, a shorter path, or the address that a browser shows.

        Raises:
            NotFound: there is none; also a ``CommError``.
            ConfigError: the path names no run, or a page of another server.
        """
        session = self._on
        address = paths.thing_of(path, session.defaults)
        return Run(session, await find_run(session, address.namespace, address.id), address.namespace)

    def runs(
        self,
        path: str = "",
        filters: Mapping[str, Json] | None = None,
        order: str = "+created_at",
        per_page: int = PER_PAGE,
    ) -> Runs:
        """The runs of a project, complete with config and summary, streamed.

        Args:
            filters: as MongoDB has them. ``createdAt`` and ``created_at``, ``config.x`` and
                ``config.x.value``, ``summary.x`` and ``summary_metrics.x`` mean the same.
            order: a key after ``+`` or ``-``.
            per_page: runs in one request; more are faster.

        Raises:
            ConfigError: path, filters or order make no sense.
        """
        session = self._on
        return Runs(session, paths.project_of(path, session.defaults), filters, order, per_page)

    @raising_comm_errors
    async def projects(self, entity: str | None = None) -> list[Project]:
        """The projects of an entity, the oldest first.

        Raises:
            ConfigError: there is no such entity.
        """
        return await list_projects(self._on.client, self._on.identity, self._entity_of(entity))

    @raising_comm_errors
    async def registries(self, entity: str | None = None) -> list[Project]:
        """The registries of the organisations of an entity.

        Each is a project: ``artifact_collections(str(registry.namespace))`` gives its collections.
        """
        session, asked = self._on, self._entity_of(entity)
        data = await session.client.graphql(ORGANIZATIONS, {"entity": asked}, f"organisations of {asked}")
        found = [
            project
            for owner in organization_entities(data).values()
            for project in await list_projects(session.client, session.identity, owner)
        ]
        return [project for project in found if project.namespace.project.startswith(PREFIX)]

    def _entity_of(self, given: str | None) -> str:
        entity = given or self._on.defaults.entity
        if not entity:
            raise ConfigError("no entity is given, and this account has no default one")
        return entity

    # --- sweeps

    @raising_comm_errors
    async def sweep(self, path: str) -> Sweep:
        """A sweep: ``entity/project/sweep_id``, or the address that a browser shows."""
        session = self._on
        address = paths.thing_of(path, session.defaults, "sweep")
        return await find_sweep(session, address.namespace, address.id)

    def sweeps(self, path: str = "", per_page: int = PER_PAGE) -> AsyncGenerator[Sweep]:
        """The sweeps of a project."""
        return list_sweeps(self._on, paths.project_of(path, self._on.defaults), per_page)

    # --- artifacts

    @raising_comm_errors
    async def artifact(self, name: str, type: str | None = None) -> Artifact:  # noqa: A002
        """A version: ``entity/project/collection:alias``; an alias may be ``v3``, a digest, or left out.

        Raises:
            NotFound: there is none.
            ConfigError: it is of another type.
        """
        session = self._on
        namespace, named = paths.artifact_of(name, session.defaults)
        return await versions.find_artifact(session, namespace, named, type)

    def artifacts(
        self,
        type_name: str,
        name: str,
        per_page: int = versions.PER_PAGE,
        *,
        tags: Sequence[str] | None = None,
    ) -> AsyncGenerator[Artifact]:
        """The versions of a collection, ``entity/project/collection``, the newest first.

        Args:
            tags: only versions that have all of them.
        """
        namespace, named = paths.artifact_of(name, self._on.defaults)
        return versions.versions_of(self._on, namespace, type_name, named.partition(":")[0], per_page, tags)

    def artifact_collections(
        self, path: str = "", type_name: str | None = None
    ) -> AsyncGenerator[Collection]:
        """The collections of a project, of one type or of all."""
        return versions.list_collections(self._on, paths.project_of(path, self._on.defaults), type_name)

    def artifact_types(self, path: str = "") -> AsyncGenerator[str]:
        """The types of artifacts of a project."""
        return versions.list_types(self._on, paths.project_of(path, self._on.defaults))

    # --- reports

    def reports(
        self, path: str = "", name: str | None = None, per_page: int = PER_PAGE
    ) -> AsyncGenerator[Report]:
        """The reports of a project."""
        return list_reports(self._on, paths.project_of(path, self._on.defaults), name, per_page)


def _timeout(given: float | None) -> float:
    name = "the timeout" if given is not None else "WANDB_HTTP_TIMEOUT"
    value = os.environ.get("WANDB_HTTP_TIMEOUT") if given is None else given
    try:
        seconds = READ_TIMEOUT_S if value in (None, "") else float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} is {value!r}, which is no number of seconds", exc=error) from error
    if not seconds > 0:
        raise ConfigError(f"{name} is {value!r} seconds", remedy="give a time above zero")
    return seconds
