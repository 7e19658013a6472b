"""``engine plan``."""

from __future__ import annotations

from engine.cli import migrate as migration
from engine.cli import selecting as asked
from engine.transfer.ledger.ledger import DEFAULT_STATE_DIR
from engine.transfer.throttling.breaker import PATIENCE_S


def plan(
    source: asked.SourceUri,
    destination: asked.DestinationUri,
    sample: asked.Sample = None,
    experiment: asked.Experiments = None,
    filter: asked.Filter = None,  # noqa: A002 - the name of the option
    since: asked.Since = None,
    run: asked.RunIds = None,
    state: asked.States = None,
    order: asked.Order = None,
    limit: asked.Limit = None,
    include_deleted: asked.IncludeDeleted = False,
    live: asked.Live = True,
    history: asked.History = True,
    files: asked.Files = True,
    artifacts: asked.Artifacts = True,
    reports: asked.Reports = True,
    remap: asked.Remap = None,
    map_file: asked.MapFile = None,
    experiments_as: asked.ExperimentsAs = None,
    ids: asked.Ids = "keep",
    materialise: asked.Materialise = False,
    recreate: asked.Recreate = False,
    old_ledger: asked.OldLedger = None,
    parse_params: asked.ParseParams = False,
    artifact_root: asked.ArtifactRoots = None,
    concurrency: asked.Concurrency = None,
    max_rps: asked.MaxRps = None,
    bandwidth: asked.Bandwidth = None,
    state_dir: asked.StateDir = DEFAULT_STATE_DIR,
    ledger: asked.Ledger = None,
    incremental: asked.Incremental = True,
    recheck_artifacts: asked.RecheckArtifacts = False,
    source_api_key_env: asked.SourceKey = None,
    dest_api_key_env: asked.DestinationKey = None,
    json: asked.OneDocument = False,
) -> None:
    """Tell what engine migrate would do with the same arguments, and write nothing anywhere.

    Checks both sides, counts what is there and what an earlier migration brought already, lists what the
    destination cannot hold as it is and what cannot be read, and estimates requests and time. Options mean
    what they mean to [bold]engine migrate[/].

    [bold]Examples[/]

    engine plan mlflow:sqlite:///mlflow.db wandb:my-team

    engine plan mlflow:http://localhost:5000 wandb:my-team/imported --sample 200

    [bold]Exit status[/]  0 all can be moved · 1 some of it cannot be read, as listed · 2 wrong usage or
    configuration · 3 a side cannot be used
    """
    migration.migrate(
        source=source,
        destination=destination,
        plan=True,
        sample=sample,
        experiment=experiment,
        filter=filter,
        since=since,
        run=run,
        state=state,
        order=order,
        limit=limit,
        include_deleted=include_deleted,
        live=live,
        history=history,
        files=files,
        artifacts=artifacts,
        reports=reports,
        remap=remap,
        map_file=map_file,
        experiments_as=experiments_as,
        ids=ids,
        materialise=materialise,
        recreate=recreate,
        old_ledger=old_ledger,
        parse_params=parse_params,
        artifact_root=artifact_root,
        concurrency=concurrency,
        max_rps=max_rps,
        patience=PATIENCE_S,
        bandwidth=bandwidth,
        state_dir=state_dir,
        ledger=ledger,
        incremental=incremental,
        recheck_artifacts=recheck_artifacts,
        source_api_key_env=source_api_key_env,
        dest_api_key_env=dest_api_key_env,
        json=json,
    )
