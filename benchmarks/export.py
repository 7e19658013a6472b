"""Reads many runs with ``engine.Api`` and with the official SDK, from one sandbox.

    python -m benchmarks.export [--runs 10000] [--long 1000] [--rows 5000] [--keys 8]
        [--sdk-runs 10000] [--sdk-eager-runs 1000] [--sdk-long 50]

Three projects: ``listing`` has runs with a config and a summary, ``histories`` has runs with rows, and
``exported`` has the same after the server has exported their rows to Parquet, as the service does with runs
that are over. All are put straight into the sandbox's database. Each reading is a process of its own, and
each client also reads a tenth of the runs: what a run costs is the difference, so that no start of a process
is in it, and the memory of both should be the same. The SDK reads the first of the runs only, as many as it
is told; nothing is extrapolated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Cost, SandboxProcess, cpu_s, measured, sandbox_process
from engine.sandbox import Sandbox
from engine.sandbox.database import Database

ENTITY = "rehearsal"
LIVE, EXPORTED = "histories", "exported"
PARAMS = 20
METRICS = 20
CREATED = 1_700_000_000_000


@dataclass(frozen=True)
class Size:
    """Runs of each project; rows and keys of each history."""

    runs: int
    long: int
    rows: int
    keys: int


async def fill(data_dir: Path, size: Size, parts: Mapping[str, int]) -> None:
    """Make the projects; ``parts`` are their names and numbers of runs."""
    async with Sandbox(data_dir) as sandbox:
        db = sandbox.db
        user = db.value("SELECT number FROM users LIMIT 1", ())
        entity = db.value("SELECT number FROM entities WHERE name = ?", (ENTITY,))
        for project, runs in parts.items():
            with db.transaction():
                number = db.insert(
                    "INSERT INTO projects (entity, name, user, access, created, updated)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (entity, project, user, "USER_READ", CREATED, CREATED),
                )
                first = 1 + (db.value("SELECT max(number) FROM runs", ()) or 0)
                db.execute_many(
                    "INSERT INTO runs (number, project, user, name, display_name, state, created, updated,"
                    " heartbeat, config, summary) VALUES (?, ?, ?, ?, ?, 'finished', ?, ?, ?, ?, ?)",
                    (_run(first + i, number, user, i) for i in range(runs)),
                )
                if project in (LIVE, EXPORTED):
                    _fill_histories(db, number, first, size)


def _fill_histories(db: Database, project: int, first: int, size: Size) -> None:
    """Give all runs of a project the same rows: they are made once, and copied within the database."""
    db.execute_many("INSERT INTO history (run, line, step, row) VALUES (?, ?, ?, ?)", _rows(first, size))
    db.execute_many(
        "INSERT INTO history_keys (run, key, type, count) VALUES (?, ?, 'number', ?)",
        ((first, key, size.rows) for key in _row(0, size)),
    )
    for table, columns in (("history", "line, step, row"), ("history_keys", "key, type, count")):
        db.execute(
            f"INSERT INTO {table} (run, {columns}) SELECT number, {columns} FROM runs"
            f" JOIN {table} AS made ON made.run = ? WHERE project = ? AND number != ?",
            (first, project, first),
        )


def _run(number: int, project: int, user: int, i: int) -> tuple[object, ...]:
    config = {f"param_{k}": {"value": i * k if k % 2 else f"value {k}"} for k in range(PARAMS)}
    summary = {f"metric_{k}": i / (k + 1) for k in range(METRICS)}
    at = CREATED + i * 1_000
    return (number, project, user, f"r{i}", f"run {i}", at, at, at, json.dumps(config), json.dumps(summary))


def _rows(run: int, size: Size) -> Iterator[tuple[int, int, int, str]]:
    for step in range(size.rows):
        yield run, step, step, json.dumps(_row(step, size))


def _row(step: int, size: Size) -> dict[str, float]:
    metrics = {f"metric_{k}": (step + k) / 7 for k in range(size.keys)}
    return {"_step": step, "_timestamp": CREATED / 1e3 + step, **metrics}


def export(sandbox: SandboxProcess, project: str, runs: int) -> None:
    """Have the server export all rows of a project."""
    for i in range(runs):
        sandbox.post("/admin/history-exports", {"entity": ENTITY, "project": project, "run": f"r{i}"})


@dataclass(frozen=True)
class Measured:
    """One process that read some runs."""

    runs: int
    cost: Cost
    requests: int
    server_cpu_s: float


@dataclass(frozen=True)
class Reading:
    """A client that read some runs, and a tenth of them."""

    client: str
    what: str
    all: Measured
    tenth: Measured

    @property
    def cpu_ms(self) -> float:
        """Of a run, without the start."""
        return self._per_run(self.all.cost.cpu_s - self.tenth.cost.cpu_s) * 1e3

    @property
    def wall_ms(self) -> float:
        """Of a run, without the start."""
        return self._per_run(self.all.cost.wall_s - self.tenth.cost.wall_s) * 1e3

    def _per_run(self, more: float) -> float:
        return more / (self.all.runs - self.tenth.runs)

    def line(self) -> str:
        cost = self.all.cost
        cells = [
            f"{self.client}, {self.what}",
            f"{self.all.runs:,}",
            f"{cost.wall_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.peak_rss_mb:.0f}",
            f"{self.tenth.cost.peak_rss_mb:.0f}",
            f"{self._per_run(self.all.requests - self.tenth.requests):.3f}",
            f"{self.wall_ms:.2f}",
            f"{self.cpu_ms:.2f}",
            f"{self._per_run(self.all.server_cpu_s - self.tenth.server_cpu_s) * 1e3:.2f}",
            cost.out.strip(),
        ]
        return _row_of(cells)


def _row_of(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def read(client: str, what: str, runs: int, sandbox: SandboxProcess, work: Path) -> Reading:
    """Have a client read so many runs, and a tenth of them."""
    # So that what the first process compiles is in no figure.
    measure(client, what, 1, sandbox, work)
    tenth = measure(client, what, max(1, runs // 10), sandbox, work)
    return Reading(client, what, measure(client, what, runs, sandbox, work), tenth)


def measure(client: str, what: str, runs: int, sandbox: SandboxProcess, work: Path) -> Measured:
    """Run one client to its end."""
    # The SDK as the guide uses it; ours as its documentation advises.
    per_page = 500 if client == "engine" else 50
    command = [sys.executable, "-m", "benchmarks.export_clients", client, what]
    command += [f"{ENTITY}/{what}", str(per_page), str(runs)]
    home = Path(tempfile.mkdtemp(dir=work))
    environ = {f"WANDB_{name}": str(home) for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
    environ |= {"WANDB_BASE_URL": sandbox.url, "WANDB_API_KEY": sandbox.api_key, "WANDB_SILENT": "true"}
    environ |= {"WANDB_ERROR_REPORTING": "false"}
    # As installed packages are: compiled once, not at each start.
    environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(work / "bytecode")}
    requests, server = sandbox.requests(), cpu_s(sandbox.pid)
    cost = measured(command, environ=environ, log=home / "log", cwd=Path(__file__).parents[1])
    if cost.status:
        raise SystemExit((home / "log").read_text())
    return Measured(runs, cost, sandbox.requests() - requests, cpu_s(sandbox.pid) - server)


def compared(ours: Reading, theirs: Reading) -> str:
    """How many times as much the other client takes, for a run and for all of them."""
    same = ours.all.runs == theirs.all.runs
    cells = [
        f"{theirs.client}, {theirs.what}",
        f"{theirs.cpu_ms / ours.cpu_ms:.1f}",
        f"{theirs.wall_ms / ours.wall_ms:.1f}",
        f"{theirs.all.cost.cpu_s / ours.all.cost.cpu_s:.1f}" if same else "",
        f"{theirs.all.cost.wall_s / ours.all.cost.wall_s:.1f}" if same else "",
    ]
    return _row_of(cells)


def _told(what: str, began: float) -> float:
    now = time.monotonic()
    print(f"{what}: {now - began:.0f} s", file=sys.stderr, flush=True)
    return now


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--sdk-runs", type=int, default=10_000, help="runs that the SDK lists")
    parser.add_argument("--sdk-eager-runs", type=int, default=1_000, help="and with lazy=False")
    parser.add_argument("--sdk-long", type=int, default=50, help="histories that the SDK reads")
    options = parser.parse_args()
    size = Size(options.runs, options.long, options.rows, options.keys)
    parts = {"listing": size.runs, LIVE: size.long, EXPORTED: size.long}
    theirs = {
        "listing": {"sdk": options.sdk_runs, "sdk-eager": options.sdk_eager_runs},
        LIVE: {"sdk": options.sdk_long},
        EXPORTED: {"sdk": options.sdk_long},
    }
    with tempfile.TemporaryDirectory(prefix="export-") as directory:
        work, now = Path(directory), time.monotonic()
        asyncio.run(fill(work / "data", size, parts))
        now = _told("making the projects", now)
        with sandbox_process(work / "data") as sandbox:
            export(sandbox, EXPORTED, size.long)
            now = _told("exporting histories on the server", now)
            head = ("what", "runs", "wall s", "CPU s", "peak MB", "of a tenth", "requests/run")
            print(_row_of([*head, "wall ms/run", "CPU ms/run", "server CPU ms/run", "values or rows"]))
            print(_row_of(["---"] * 11))
            ratios = []
            for what, runs in parts.items():
                ours = read("engine", what, runs, sandbox, work)
                print(ours.line(), flush=True)
                for client, most in theirs[what].items():
                    other = read(client, what, min(most, runs), sandbox, work)
                    print(other.line(), flush=True)
                    ratios.append(compared(ours, other))
            now = _told("reading", now)
    print("\nTimes as much as the engine; all is with the start, where both read the same runs:\n")
    print(_row_of(["what", "CPU/run", "wall/run", "CPU, all", "wall, all"]))
    print(_row_of(["---"] * 5))
    print("\n".join(ratios))


if __name__ == "__main__":
    main()
