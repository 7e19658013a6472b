"""What several commands ask in the same words: which source and destination, which part of it, and how.

``Annotated`` types to declare parameters with, and what is made of their values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from engine.cli import arguments
from engine.protocols import Destination, Source, SystemOptions, open_destination, open_source
from engine.records import RunState, Selection
from engine.remapping.reading import read_mapping
from engine.remapping.rules import Remapping

WHAT: Final = "What to move"
HOW: Final = "How it arrives"
AGAIN: Final = "The next time"
SPEED: Final = "Speed and limits"
ACCESS: Final = "Access"

STATES: Final = frozenset({*RunState, "scheduled", "queued"})
"""Of runs, in the words of all sources."""

SourceUri: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="For example mlflow:http://localhost:5000, mlflow:sqlite:///mlflow.db, mlflow:./mlruns, "
        "mlflow:databricks://profile; wandb:team/project, wandb:team, wandb:https://wandb.example.com/team; "
        "archive:./directory.",
    ),
]
DestinationUri: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="DESTINATION",
        help="For example wandb:team/project, wandb:team (an experiment becomes a project), "
        "wandb:https://wandb.example.com/team, archive:./directory.",
    ),
]
Experiments: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--experiment",
        help="Only this experiment of MLflow, or project of W&B or an archive: a name, an id, or re:PATTERN. "
        "Repeatable.",
        rich_help_panel=WHAT,
    ),
]
Filter: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help='Only runs that match, in the source\'s language: "metrics.loss < 0.1" for MLflow, '
        '\'{"state": "finished", "config.lr.value": {"$gt": 0.01}}\' for W&B and archives.',
        rich_help_panel=WHAT,
    ),
]
Since: TypeAlias = Annotated[
    str | None, typer.Option(help="Only runs started at or after this date.", rich_help_panel=WHAT)
]
Accept: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND",
        help="history_rows_missing: take histories of which a server gives fewer rows than it counts. With "
        "--strict of engine migrate, any kind of change that is fine: steps_resequenced, … Repeatable.",
        rich_help_panel=WHAT,
    ),
]
RunIds: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        metavar="ID",
        help="Only the run of this id; @FILE: those whose ids are in a file, one a line. Repeatable.",
        rich_help_panel=WHAT,
    ),
]
States: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="Only runs in this state: finished, failed, crashed, killed, running, … Repeatable.",
        rich_help_panel=WHAT,
    ),
]
Order: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="±KEY",
        help="Of W&B servers: list runs in this order, which says which come with --limit: -created_at, "
        "+summary_metrics.loss, +config.lr.value. By default the oldest first.",
        rich_help_panel=WHAT,
    ),
]
Limit: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="At most this many runs; a migration does not count those that arrived before.",
        rich_help_panel=WHAT,
    ),
]
IncludeDeleted: TypeAlias = Annotated[
    bool, typer.Option(help="Also experiments and runs in the trash.", rich_help_panel=WHAT)
]
Live: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--live/--no-live",
        help="Also runs that still go on, as far as they are; the same command brings the rest later, and "
        "until then nothing certifies them.",
        rich_help_panel=WHAT,
    ),
]
History: TypeAlias = Annotated[
    bool, typer.Option("--history/--no-history", help="Metric histories.", rich_help_panel=WHAT)
]
Files: TypeAlias = Annotated[
    bool, typer.Option("--files/--no-files", help="Files of runs.", rich_help_panel=WHAT)
]
Artifacts: TypeAlias = Annotated[
    bool, typer.Option("--artifacts/--no-artifacts", help="Artifacts.", rich_help_panel=WHAT)
]
Reports: TypeAlias = Annotated[
    bool,
    typer.Option("--reports/--no-reports", help="Reports, drafts and saved views.", rich_help_panel=WHAT),
]
Remap: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SRC=DST",
        help="Send an experiment (or entity/project) to another project or entity/project. Repeatable.",
        rich_help_panel=HOW,
    ),
]
MapFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--map",
        metavar="FILE",
        help="Give other names on the way to projects, users, tags, config keys, metrics, artifacts, aliases "
        "and references, as this YAML file says; engine map check FILE looks at it. --remap comes first.",
        rich_help_panel=HOW,
    ),
]
ExperimentsAs: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="project|group",
        help="What an experiment becomes. By default a project if DESTINATION names only an entity, "
        "a group if it names a project.",
        rich_help_panel=HOW,
    ),
]
Ids: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="keep|suffix|new",
        help="Ids of runs at the destination. keep: their own; a run whose id is taken there, or was once "
        "deleted, fails and nothing is written over. suffix: such a run gets -2, -3 … added. new: all get "
        "new ones. id_map.jsonl in the state directory says which became which.",
        rich_help_panel=HOW,
    ),
]
Materialise: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--materialise",
        help="Fetch what artifacts only refer to by http, https, s3 or file, from this machine and with its "
        "credentials, and bring it as files. What cannot be had, or changed, stays a reference and is told.",
        rich_help_panel=HOW,
    ),
]
Recreate: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--recreate",
        help="If versions of an artifact cannot have their numbers, because others have or had them at the "
        "destination, delete that whole collection there and make it anew. Nothing else that was there is "
        "ever deleted; engine plan --recreate tells what would be.",
        rich_help_panel=HOW,
    ),
]
OldLedger: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Leave out runs that W&B's own importer proved, by the run_successes.jsonl and "
        "artifact_successes.jsonl that it left in DIR, if the destination has them.",
        rich_help_panel=AGAIN,
    ),
]
ParseParams: TypeAlias = Annotated[
    bool,
    typer.Option(
        help="Params that are written as numbers, true/false or null become such; "
        "by default they stay the strings that MLflow keeps.",
        rich_help_panel=HOW,
    ),
]
ArtifactRoots: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--artifact-root",
        metavar="OLD=NEW",
        help="Read artifacts whose URI starts with OLD from NEW, for a store that was moved.",
        rich_help_panel=HOW,
    ),
]
Concurrency: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="Requests in flight per host and kind of endpoint.", rich_help_panel=SPEED),
]
MaxRps: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="Requests per second per host and kind of endpoint at most. Without it the engine finds "
        "what the servers allow.",
        rich_help_panel=SPEED,
    ),
]
Patience: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="A server that goes down is waited for so long; then the exit status is 3.",
        rich_help_panel=SPEED,
    ),
]
StateDir: TypeAlias = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        envvar="ENGINE_STATE_DIR",
        help="Where the ledger is kept of what arrived; one directory serves any number of migrations, "
        "one at a time.",
        rich_help_panel=AGAIN,
    ),
]
Incremental: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--incremental/--no-incremental",
        help="Leave out runs that arrived and did not change since; or apply everything again.",
        rich_help_panel=AGAIN,
    ),
]
RecheckArtifacts: TypeAlias = Annotated[
    bool,
    typer.Option(
        help="List the artifacts of such runs all the same, and bring those whose files changed; "
        "--artifact-root implies it.",
        rich_help_panel=AGAIN,
    ),
]
Bandwidth: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="Bytes of files and artifacts per second at most, on each side: 100MB, 20MiB.",
        rich_help_panel=SPEED,
    ),
]
Ledger: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ENGINE_LEDGER",
        help="Keep the ledger in this database instead: postgresql://user@host/database. Better in the "
        "environment, where nobody sees the password.",
        rich_help_panel=AGAIN,
    ),
]
PlanOnly: TypeAlias = Annotated[
    bool, typer.Option("--plan", help="Tell what would be done and write nothing; see engine plan.")
]
Sample: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="RUNS",
        help="For very large stores: look at the histories, files and artifacts of so many runs, chosen by "
        "chance, and extrapolate. All runs are listed even so. Of migrate: only with --plan.",
    ),
]
SourceKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--source-api-key-env",
        metavar="NAME",
        help="Environment variable with the source's key.",
        rich_help_panel=ACCESS,
    ),
]
DestinationKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--dest-api-key-env",
        metavar="NAME",
        help="Environment variable with the destination's key. By default WANDB_API_KEY, or netrc.",
        rich_help_panel=ACCESS,
    ),
]
OneDocument: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON object per event on stdout; text goes to stderr.")
]


def selection(
    *,
    experiment: list[str] | None,
    filter_by: str | None,
    since: str | None,
    limit: int | None,
    deleted: bool,
    live: bool,
    run_ids: list[str] | None,
    states: list[str] | None,
    order: str | None,
) -> Selection:
    """Which part of a source is meant.

    Raises:
        typer.BadParameter: a date, a sign, a state or a file of ids is none.
    """
    if order is not None and not (order[:1] in ("+", "-") and order[1:]):
        raise typer.BadParameter("write +KEY or -KEY", param_hint="--order")
    for state in states or ():
        if state.lower() not in STATES:
            raise typer.BadParameter(
                f"{state!r} is no state; there are {', '.join(sorted(STATES))}", param_hint="--state"
            )
    return Selection(
        projects=tuple(experiment or ()),
        filter=filter_by,
        since=arguments.time_ms(since) if since else None,
        limit=limit,
        include_deleted=deleted,
        live=live,
        ids=arguments.words(run_ids or (), "--run"),
        states=tuple(states or ()),
        order=order,
    )


def mapping_of(path: Path | None) -> Remapping:
    """The mapping that was named; without one, nothing gets another name.

    Raises:
        ConfigError, PreflightError: something in it is wrong.
    """
    return Remapping() if path is None else read_mapping(path)


def source_of(
    uri: str,
    *,
    key_variable: str | None,
    parse_params: bool,
    artifact_root: list[str] | None,
    materialise: bool = False,
) -> Source:
    """The source that was named.

    Raises:
        ConfigError: the URI is wrong.
        typer.BadParameter: an option is.
    """
    return open_source(
        uri,
        SystemOptions(
            api_key=arguments.secret(key_variable, "--source-api-key-env"),
            parse_params=parse_params,
            artifact_roots=arguments.pairs(artifact_root or (), "--artifact-root"),
            materialise=materialise,
        ),
    )


def destination_of(
    uri: str,
    *,
    key_variable: str | None,
    experiments_as: str | None,
    ids: str = "keep",
    recreate: bool = False,
) -> Destination:
    """The destination that was named.

    Raises:
        ConfigError: the URI is wrong.
        typer.BadParameter: an option is.
    """
    if experiments_as not in (None, "project", "group"):
        raise typer.BadParameter("write project or group", param_hint="--experiments-as")
    return open_destination(
        uri,
        SystemOptions(
            api_key=arguments.secret(key_variable, "--dest-api-key-env"),
            experiments_as=experiments_as,
            ids=ids,
            recreate=recreate,
        ),
    )
