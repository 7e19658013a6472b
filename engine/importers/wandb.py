"""From one W&B server to another, by the calls of ``wandb.apis.importers.wandb``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count

from engine.errors import Side
from engine.importers.listing import all_namespaces
from engine.importers.parts import PartialSource, Parts
from engine.importers.results import ImportResult
from engine.importers.running import (
    Observer,
    Transfer,
    checked_url,
    defaults,
    plain,
    run_all,
    server,
    with_workers,
)
from engine.importers.selecting import Remapping, milliseconds, of_projects, run_filter, targets_of
from engine.protocols import SystemOptions, open_destination
from engine.records import Json, Namespace, Selection
from engine.transfer.options import Options


class WandbImporter:
    """Brings runs, artifacts and reports from one W&B server to another.

    importer = WandbImporter("https://api.wandb.ai", "key there", "https://wandb.example.com", "key here")
    importer.import_all(namespaces=[Namespace("team", "vision")])

    Nothing is deleted on either side. All calls have these arguments in common:

    namespaces: the projects to import. None: all projects of the entity that is the default one of the
        source's key.
    remapping: where projects go; the others go to the same entity and project. Projects that are missing are
        made, entities are not.
    incremental: leave out what arrived before and did not change since. False: apply everything again, which
        doubles nothing.
    parallel, max_workers: how many runs and artifacts at a time; without a number as many as is good.
    raise_on_error: raise ``ImportFailures`` if something did not arrive; otherwise only the result tells.

    Each has a twin for coroutines, which is called like it with ``_async`` at the end.

    Args:
        src_base_url: of the server to read from.
        custom_api_kwargs: ``{"timeout": seconds}``: how long a server may be gone.
        options: everything else that the engine can be asked for; by default the ledger is in
            ``.transfer-engine``.
        on_event: is told of everything that happens, in the thread of the import.

    Raises:
        ConfigError: an address is malformed.
    """

    def __init__(
        self,
        src_base_url: str,
        src_api_key: str,
        dst_base_url: str,
        dst_api_key: str,
        *,
        custom_api_kwargs: dict[str, Json] | None = None,
        options: Options | None = None,
        on_event: Observer | None = None,
    ) -> None:
        self.src_base_url = checked_url(src_base_url, Side.SOURCE)
        self.dst_base_url = checked_url(dst_base_url, Side.DESTINATION)
        self._source_options = SystemOptions(api_key=src_api_key)
        self._destination_options = SystemOptions(api_key=dst_api_key)
        self._options = defaults(options, custom_api_kwargs)
        self._on_event = on_event

    def __repr__(self) -> str:
        return f"<WandbImporter src={self.src_base_url}, dst={self.dst_base_url}>"

    # -- runs --------------------------------------------------------------------------------------

    async def import_runs_async(
        self,
        *,
        namespaces: Iterable[Namespace] | None = None,
        remapping: Remapping | None = None,
        parallel: bool = True,
        incremental: bool = True,
        max_workers: int | None = None,
        limit: int | None = None,
        metadata: bool = True,
        files: bool = True,
        media: bool = True,
        code: bool = True,
        history: bool = True,
        summary: bool = True,
        terminal_output: bool = True,
        ids: Collection[str] | None = None,
        skip_ids: Collection[str] | None = None,
        start_date: str | datetime | None = None,
        filters: Mapping[str, Json] | None = None,
        raise_on_error: bool = True,
    ) -> ImportResult:
        """Import runs without their artifacts.

        Args:
            limit: at most so many runs, not counting those that arrived before.
            metadata: ``wandb-metadata.json``; and so on, see ``engine.importers.parts.Parts``.
            ids: only runs with these ids.
            skip_ids: no runs with these.
            start_date: only runs that began then or later; ISO 8601, UTC if it tells no zone.
            filters: only runs that match, as ``wandb.Api().runs(filters=…)``.

        Raises:
            ImportFailures: something did not arrive; everything else did.
            EngineError: the import could not begin or not go on.
        """
        selection = Selection(
            filter=run_filter(ids, skip_ids, filters),
            since=None if start_date is None else milliseconds(start_date),
            limit=limit,
        )
        options = replace(
            with_workers(self._options, parallel=parallel, max_workers=max_workers),
            selection=selection,
            artifacts=False,
            reports=False,
            incremental=incremental,
        )
        parts = Parts(
            metadata=metadata,
            files=files,
            media=media,
            code=code,
            history=history,
            summary=summary,
            terminal_output=terminal_output,
        )
        return await self._run(namespaces, remapping, options, raise_on_error, parts=parts)

    import_runs = plain(import_runs_async)

    # -- everything --------------------------------------------------------------------------------

    async def import_all_async(
        self,
        runs: bool = True,
        artifacts: bool = True,
        reports: bool = True,
        namespaces: Iterable[Namespace] | None = None,
        remapping: Remapping | None = None,
        incremental: bool = True,
        *,
        raise_on_error: bool = True,
    ) -> ImportResult:
        """Import everything in these projects, in the order in which it refers to each other.

        Raises:
            ImportFailures: something did not arrive; everything else did.
            EngineError: the import could not begin or not go on.
        """
        options = replace(
            self._options, runs=runs, artifacts=artifacts, reports=reports, incremental=incremental
        )
        return await self._run(namespaces, remapping, options, raise_on_error)

    import_all = plain(import_all_async)

    # -- artifacts ---------------------------------------------------------------------------------

    async def import_artifact_sequences_async(
        self,
        *,
        namespaces: Iterable[Namespace] | None = None,
        incremental: bool = True,
        max_workers: int | None = None,
        remapping: Remapping | None = None,
        types: Collection[str] | None = None,
        limit: int | None = None,
        raise_on_error: bool = True,
    ) -> ImportResult:
        """Import all artifact versions under their numbers, and what says which runs made and used them.

        Args:
            types: only artifacts of these types.
            limit: at most so many collections.

        Raises:
            ImportFailures: something did not arrive; everything else did.
            EngineError: the import could not begin or not go on.
        """
        options = with_workers(self._options, parallel=True, max_workers=max_workers)
        options = replace(options, runs=False, artifacts=True, reports=False, incremental=incremental)
        return await self._run(
            namespaces,
            remapping,
            options,
            raise_on_error,
            types=None if types is None else frozenset(types),
            limit=limit,
        )

    import_artifact_sequences = plain(import_artifact_sequences_async)

    # -- reports -----------------------------------------------------------------------------------

    async def import_reports_async(
        self,
        *,
        namespaces: Iterable[Namespace] | None = None,
        limit: int | None = None,
        remapping: Remapping | None = None,
        raise_on_error: bool = True,
    ) -> ImportResult:
        """Import reports and saved views, pointing at what is at the destination then.

        Args:
            limit: at most so many of them.

        Raises:
            ImportFailures: something did not arrive; everything else did.
            EngineError: the import could not begin or not go on.
        """
        options = replace(self._options, runs=False, artifacts=False, reports=True)
        return await self._run(namespaces, remapping, options, raise_on_error, limit=limit)

    import_reports = plain(import_reports_async)

    # -- transfers ---------------------------------------------------------------------------------

    async def _run(
        self,
        namespaces: Iterable[Namespace] | None,
        remapping: Remapping | None,
        options: Options,
        raise_on_error: bool,
        *,
        parts: Parts | None = None,
        types: frozenset[str] | None = None,
        limit: int | None = None,
    ) -> ImportResult:
        tokens = count() if limit is None else iter(range(limit))

        def source(entity: str) -> PartialSource:
            rest = server(self.src_base_url, entity)
            return PartialSource(rest, self._source_options, parts or Parts(), types, tokens)

        if namespaces is None:
            namespaces = await all_namespaces(source(""), options)
        targets = targets_of(namespaces, remapping or {})
        # One transfer for each pair of entities, so that many projects take few connections.
        pairs: dict[tuple[str, str], list[Namespace]] = defaultdict(list)
        for there, here in targets.items():
            pairs[there.entity, here.entity].append(there)
        transfers = [
            Transfer(
                source(there),
                open_destination(f"wandb:{server(self.dst_base_url, here)}", self._destination_options),
                of_projects(options, projects, targets),
            )
            for (there, here), projects in pairs.items()
        ]
        return await run_all(transfers, on_event=self._on_event, raise_on_error=raise_on_error)
