"""Moves one MLflow store to W&B's protocol server with this engine and with W&B's last own importer.

    python benchmarks/mlflow_to_wandb.py [--runs 200] [--keys 20] [--steps 500] [--old-runs N]

Both write to the same sandbox, which runs in a process of its own, and what arrived is counted by reading
it back with the official SDK. The old importer lives in an environment that the script makes under the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import wandb

from benchmarks.processes import (
    Cost,
    MlflowProcess,
    SandboxProcess,
    cpu_s,
    measured,
    mlflow_process,
    sandbox_process,
)
from benchmarks.stores import FILES, BenchmarkStore, Size, store_of

OLD_IMPORTER = (
    "wandb[importers]==0.27.0", "wandb-workspaces", "mlflow<3", "polars<=1.2.1", "numpy<2", "setuptools<81"
)  # fmt: skip
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Arrived:
    """What the SDK reads back."""

    runs: int
    points: int
    files: int


@dataclass(frozen=True)
class Servers:
    """Both servers, each in processes of its own."""

    sandbox: SandboxProcess
    mlflow: MlflowProcess

    def cpu_s(self) -> tuple[float, float]:
        return cpu_s(self.sandbox.pid), cpu_s(self.mlflow.pid)


@dataclass(frozen=True)
class Row:
    """A line of the table; ``servers_cpu_s`` is of the sandbox and of mlflow server."""

    name: str
    size: Size
    cost: Cost
    servers_cpu_s: tuple[float, float]
    requests: int
    arrived: Arrived

    def cells(self) -> list[str]:
        cost, arrived, runs = self.cost, self.arrived, max(1, self.arrived.runs)
        return [
            self.name,
            f"{cost.wall_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.peak_rss_mb:.0f}",
            " + ".join(f"{seconds:.1f}" for seconds in self.servers_cpu_s),
            f"{self.requests / runs:.1f}",
            f"{arrived.points / cost.wall_s:,.0f}",
            f"{1e6 * cost.cpu_s / max(1, arrived.points):.1f}",
            f"{arrived.runs}/{self.size.runs}",
            f"{arrived.points:,}/{self.size.points:,}",
            f"{arrived.files:,}/{self.size.runs * len(FILES):,}",
        ]


HEAD = (
    "what", "wall s", "CPU s", "peak MB", "sandbox + mlflow CPU s", "req/run", "points/s", "CPU µs/point",
    "runs", "points", "files",
)  # fmt: skip


def main() -> None:
    options = _arguments()
    size = Size(options.runs, options.keys, options.steps)
    options.cache.mkdir(parents=True, exist_ok=True)
    store = store_of(size, options.cache)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        work = Path(scratch)
        log = work / "mlflow.log"
        with (
            sandbox_process(work / "sandbox") as sandbox,
            mlflow_process(store.uri, store.artifacts, log, workers=options.workers) as mlflow,
        ):
            servers = Servers(sandbox, mlflow)
            rows.append(_ours("engine, from SQLite", store.uri, store, size, servers, work))
            rows.append(_ours("engine, from mlflow server", mlflow.url, store, size, servers, work))
            if options.old_runs:
                old = Size(options.old_runs, size.keys, size.steps)
                rows.append(_old(old, servers, options.cache, work))
    _show(rows)
    if options.old_runs:
        _compare(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--old-runs", type=int, help="runs for the old importer, 0 for none; default: all")
    parser.add_argument("--workers", type=int, default=2, help="of mlflow server")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/transfer-engine-bench").expanduser())
    options = parser.parse_args()
    if options.old_runs is None:
        options.old_runs = options.runs
    return options


def _ours(name: str, source: str, store: BenchmarkStore, size: Size, servers: Servers, work: Path) -> Row:
    project = name.replace(",", "").replace(" ", "-")
    # Without a server, the directory that it hands out has to be named.
    root = () if source.startswith("http") else ("--artifact-root", f"mlflow-artifacts:/={store.artifacts}/")
    row = _row(
        name,
        size,
        servers,
        project,
        (sys.executable, "-m", "engine.cli.main", "migrate", "--verify", "none", f"mlflow:{source}"),
        (f"wandb:{servers.sandbox.url}/{servers.sandbox.entity}/{project}", *root, "--json"),
        work,
    )
    finished = json.loads(row.cost.out.splitlines()[-1])
    assert finished["points"] == size.points, finished
    return row


def _old(size: Size, servers: Servers, cache: Path, work: Path) -> Row:
    project = "old-importer"
    return _row(
        "W&B's importer 0.27.0, from mlflow server",
        size,
        servers,
        project,
        (
            str(old_environment(cache)),
            str(HERE / "old_importer.py"),
            servers.mlflow.url,
            servers.sandbox.url,
        ),
        (f"{servers.sandbox.entity}/{project}", str(size.runs)),
        work,
    )


def _row(
    name: str,
    size: Size,
    servers: Servers,
    project: str,
    program: tuple[str, ...],
    arguments: tuple[str, ...],
    work: Path,
) -> Row:
    """Run a command, see what it cost each side, and count what arrived."""
    print(f"{name} …", file=sys.stderr)
    sandbox, log = servers.sandbox, work / f"{project}.log"
    requests, used = sandbox.requests(), servers.cpu_s()
    cost = measured(
        [*program, *arguments],
        environ={
            "WANDB_API_KEY": sandbox.api_key,
            "WANDB_BASE_URL": sandbox.url,
            "WANDB_ERROR_REPORTING": "false",
        },
        log=log,
        cwd=work,
    )
    if cost.status:
        sys.exit(f"{name}: exit status {cost.status}\n{log.read_text()[-3000:]}")
    served = (servers.cpu_s()[0] - used[0], servers.cpu_s()[1] - used[1])
    return Row(name, size, cost, served, sandbox.requests() - requests, _arrived(sandbox, project))


def old_environment(cache: Path) -> Path:
    directory = cache / "old-importer"
    python = directory / "bin" / "python"
    if not python.exists():
        print("installing the old importer …", file=sys.stderr)
        venv.create(directory, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *OLD_IMPORTER], check=True)
    return python


def _arrived(sandbox: SandboxProcess, project: str) -> Arrived:
    api = wandb.Api(overrides={"base_url": sandbox.url}, api_key=sandbox.api_key, timeout=60)
    runs = list(api.runs(f"{sandbox.entity}/{project}", per_page=200))
    points = sum(
        sum(not key.startswith("_") and value is not None for key, value in row.items())
        for run in runs
        for row in run.scan_history(page_size=10_000)
    )
    files = sum(len(a.manifest.entries) for run in runs for a in run.logged_artifacts())
    return Arrived(len(runs), points, files)


def _show(rows: list[Row]) -> None:
    for line in (list(HEAD), ["---"] * len(HEAD), *(row.cells() for row in rows)):
        print("| " + " | ".join(line) + " |")


def _compare(rows: list[Row]) -> None:
    old = rows[-1]
    for row in rows[:-1]:
        # Per point of what each was given, so that a smaller share for the old importer is fair to it.
        wall = (old.cost.wall_s / old.size.points) / (row.cost.wall_s / row.size.points)
        cpu = (old.cost.cpu_s / old.size.points) / (row.cost.cpu_s / row.size.points)
        print(f"{row.name}: {wall:.1f} times as fast as W&B's importer, with 1/{cpu:.1f} of the CPU")
    if old.size.runs != rows[0].size.runs:
        share = rows[0].size.runs / old.size.runs
        print(
            f"W&B's importer moved {old.size.runs} of {rows[0].size.runs} runs; "
            f"all of them would take about {old.cost.wall_s * share:.0f} s at that rate (extrapolated)"
        )


if __name__ == "__main__":
    os.environ.setdefault("WANDB_SILENT", "true")
    main()
