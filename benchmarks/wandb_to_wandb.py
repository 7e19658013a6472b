"""Moves a W&B project from one server to another with this engine and with W&B's last own importer.

    python benchmarks/wandb_to_wandb.py [--runs 300] [--rows 2000] [--collections 50] [--versions 20]
        [--old-runs N] [--old-versions N]

Each server is a sandbox in a process of its own. What arrived is counted by reading it back with the official
SDK. The old importer lives in an environment that ``mlflow_to_wandb.py`` makes under the cache, and gets a
smaller project of the same kind if it is told how small.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import wandb

from benchmarks.mlflow_to_wandb import old_environment
from benchmarks.processes import Cost, SandboxProcess, cpu_s, measured, sandbox_process
from benchmarks.wandb_world import FILES_PER_VERSION, Size, fill
from engine.records import Namespace

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Servers:
    source: SandboxProcess
    destination: SandboxProcess

    def cpu_s(self) -> tuple[float, float]:
        return cpu_s(self.source.pid), cpu_s(self.destination.pid)

    def requests(self) -> tuple[int, int]:
        return self.source.requests(), self.destination.requests()


@dataclass(frozen=True)
class Arrived:
    """What the SDK reads back at the destination."""

    runs: int
    rows: int
    versions: int
    edges: int


@dataclass(frozen=True)
class Row:
    """A line of the table; ``servers_cpu_s`` and ``requests`` are of source and destination."""

    name: str
    size: Size
    cost: Cost
    servers_cpu_s: tuple[float, float]
    requests: tuple[int, int]
    arrived: Arrived

    def cells(self, items: int) -> list[str]:
        """``items``: what a request is counted for, runs or versions."""
        cost, arrived, size = self.cost, self.arrived, self.size
        return [
            self.name,
            str(cost.status),
            f"{cost.wall_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.peak_rss_mb:.0f}",
            " + ".join(f"{seconds:.1f}" for seconds in self.servers_cpu_s),
            " + ".join(f"{count / max(1, items):.1f}" for count in self.requests),
            f"{arrived.runs}/{size.runs}",
            f"{arrived.rows:,}/{size.runs * size.rows:,}",
            f"{arrived.versions}/{size.all_versions}",
            f"{arrived.edges}/{size.all_versions}",
        ]


HEAD = (
    "what", "exit", "wall s", "CPU s", "peak MB", "servers' CPU s", "requests per item", "runs", "rows",
    "versions", "used-by",
)  # fmt: skip


def main() -> None:
    options = _arguments()
    size = Size(options.runs, options.rows, options.keys, options.collections, options.versions)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        work = Path(scratch)
        rows = list(_engine(size, work / "engine"))
        if options.old_runs:
            old = replace(
                size, runs=options.old_runs, collections=1, versions=min(size.versions, options.old_versions)
            )
            rows += _old(old, options.cache, work / "old")
    for line in (list(HEAD), ["---"] * len(HEAD), *rows):
        print("| " + " | ".join(line) + " |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--collections", type=int, default=50)
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--old-runs", type=int, default=20, help="runs for the old importer, 0 for none")
    parser.add_argument("--old-versions", type=int, default=5, help="versions of one collection for it")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/transfer-engine-bench").expanduser())
    return parser.parse_args()


@contextmanager
def _servers(size: Size, work: Path, namespace: Namespace) -> Iterator[Servers]:
    """Two servers, the first of which has the project."""
    work.mkdir()
    with sandbox_process(work / "source") as source, sandbox_process(work / "destination") as destination:
        print(f"filling the source with {size} …", file=sys.stderr)
        filled = anyio.run(fill, size, source.url, source.api_key, namespace)
        assert not filled.failure_count, filled.failures
        yield Servers(source, destination)


def _engine(size: Size, work: Path) -> Iterator[list[str]]:
    """Runs alone, then versions alone, then all of it again, which is there already."""
    namespace = Namespace("rehearsal", "benchmark")
    with _servers(size, work, namespace) as servers:
        command = [sys.executable, "-m", "engine.cli.main", "migrate", "--state-dir", str(work / "state")]
        command += [f"wandb:{servers.source.url}/{namespace}", f"wandb:{servers.destination.url}/{namespace}"]
        command += ["--source-api-key-env", "SOURCE_KEY", "--dest-api-key-env", "DESTINATION_KEY", "--json"]
        for name, arguments, items in (
            ("engine, runs", ("--no-artifacts", "--verify", "none"), size.runs),
            ("engine, versions", ("--verify", "none"), size.all_versions),
            ("engine, again", ("--verify", "none"), size.runs + size.all_versions),
            ("engine, again, verified", ("--verify", "full"), size.runs + size.all_versions),
        ):
            row = _row(name, size, servers, namespace, [*command, *arguments], work)
            assert row.cost.status == 0, row.cost.out[-3000:]
            yield row.cells(items)


def _old(size: Size, cache: Path, work: Path) -> Iterator[list[str]]:
    """W&B's importer; its versions take an hour if they are many, so they come last and are few."""
    namespace = Namespace("rehearsal", "old")
    python = str(old_environment(cache))
    with _servers(size, work, namespace) as servers:
        where = (servers.source.url, servers.destination.url, namespace.path)
        for part, items in (("runs", size.runs), ("artifacts", size.all_versions)):
            command = [python, str(HERE / "old_wandb_importer.py"), part, *where]
            name = f"W&B's importer 0.27.0, {part}"
            row = _row(name, size, servers, namespace, command, work)
            if row.arrived.runs < size.runs or (part == "artifacts" and row.arrived.versions < items):
                log = (work / f"{part}.log").read_text()
                print(f"{name}: exit status {row.cost.status}\n{log[-3000:]}", file=sys.stderr)
            yield row.cells(items)


def _row(
    name: str, size: Size, servers: Servers, namespace: Namespace, command: Sequence[str], work: Path
) -> Row:
    """Run a command, see what it cost each side, and count what arrived."""
    print(f"{name} …", file=sys.stderr)
    requests, used = servers.requests(), servers.cpu_s()
    cost = measured(
        command,
        environ={
            "SOURCE_KEY": servers.source.api_key,
            "DESTINATION_KEY": servers.destination.api_key,
            "WANDB_ERROR_REPORTING": "false",
        },
        log=work / f"{name.rpartition(' ')[2]}.log",
        cwd=work,
    )
    now, asked = servers.cpu_s(), servers.requests()
    return Row(
        name,
        size,
        cost,
        (now[0] - used[0], now[1] - used[1]),
        (asked[0] - requests[0], asked[1] - requests[1]),
        _arrived(servers.destination, namespace),
    )


def _arrived(sandbox: SandboxProcess, namespace: Namespace) -> Arrived:
    api = wandb.Api(overrides={"base_url": sandbox.url}, api_key=sandbox.api_key, timeout=60)
    if namespace.project not in {project.name for project in api.projects(namespace.entity)}:
        return Arrived(0, 0, 0, 0)  # which is what an import that failed leaves
    runs = list(api.runs(namespace.path, per_page=200))
    rows = sum(1 for run in runs for _ in run.scan_history(page_size=10_000))
    versions = edges = 0
    for kind in api.artifact_types(namespace.path):
        for collection in kind.collections():
            for version in collection.artifacts():
                if len(version.manifest.entries) == FILES_PER_VERSION:
                    versions += 1
                    edges += len(version.used_by())
    return Arrived(len(runs), rows, versions, edges)


if __name__ == "__main__":
    os.environ.setdefault("WANDB_SILENT", "true")
    main()
