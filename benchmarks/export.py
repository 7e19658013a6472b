"""Reads many runs with ``engine.Api`` and with the official SDK, from one sandbox.

    python -m benchmarks.export [--runs 10000] [--long 1000] [--rows 5000] [--keys 8] [--sdk-runs N]

Three projects: ``listing`` has runs with a config and a summary, ``histories`` has runs with rows, and
``exported`` has the same after the server has exported their rows to Parquet, as the service does with runs
that are over. All are put straight into the sandbox's database. Each reading is a process of its own;
``start`` is one that opens the API and reads nothing, and the CPU of a run is what comes on top of that.
``--sdk-runs`` gives the SDK fewer runs; what it would take for all of them is extrapolated, and marked so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Cost, SandboxProcess, cpu_s, measured, sandbox_process
from engine.sandbox import Sandbox

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


async def fill(data_dir: Path, size: Size, parts: dict[str, int]) -> None:
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
                if project.startswith((LIVE, EXPORTED)):
                    db.execute_many(
                        "INSERT INTO history (run, line, step, row) VALUES (?, ?, ?, ?)",
                        (row for i in range(runs) for row in _rows(first + i, size)),
                    )
                    db.execute_many(
                        "INSERT INTO history_keys (run, key, type, count) VALUES (?, ?, 'number', ?)",
                        ((first + i, key, size.rows) for i in range(runs) for key in _row(0, size)),
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
class Reading:
    """One line of the table."""

    client: str
    what: str
    runs: int
    cost: Cost
    requests: int
    server_cpu_s: float

    def line(self, of: int, start: Cost) -> str:
        share = of / self.runs
        shown = f"{self.client}, {self.what}" + (f" ({self.runs} of {of} runs)" if share > 1 else "")
        cells = [
            shown,
            f"{self.cost.wall_s:.1f}",
            f"{self.cost.cpu_s:.1f}",
            f"{self.cost.peak_rss_mb:.0f}",
            f"{self.requests / self.runs:.2f}",
            f"{(self.cost.cpu_s - start.cpu_s) * 1e3 / self.runs:.2f}",
            f"{self.server_cpu_s * 1e3 / self.runs:.2f}",
            f"{self.cost.wall_s * share:.1f}" + (" (extrapolated)" if share > 1 else ""),
            self.cost.out.strip(),
        ]
        return "| " + " | ".join(cells) + " |"


def read(
    client: str, what: str, project: str, runs: int, per_page: int, sandbox: SandboxProcess, work: Path
) -> Reading:
    """Run one client to its end."""
    command = [sys.executable, "-m", "benchmarks.export_clients", client, what]
    command += [f"{ENTITY}/{project}", str(per_page)]
    home = work / f"{client}-{what}-{project}"
    home.mkdir()
    environ = {f"WANDB_{kind}": str(home) for kind in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
    environ |= {"WANDB_BASE_URL": sandbox.url, "WANDB_API_KEY": sandbox.api_key, "WANDB_SILENT": "true"}
    environ |= {"WANDB_ERROR_REPORTING": "false"}
    requests, server = sandbox.requests(), cpu_s(sandbox.pid)
    cost = measured(command, environ=environ, log=home / "log", cwd=Path(__file__).parents[1])
    if cost.status:
        raise SystemExit((home / "log").read_text())
    return Reading(client, what, runs, cost, sandbox.requests() - requests, cpu_s(sandbox.pid) - server)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--sdk-runs", type=int, default=0, help="runs for the SDK, 0 for all")
    options = parser.parse_args()
    size = Size(options.runs, options.long, options.rows, options.keys)
    parts = {"listing": size.runs, LIVE: size.long, EXPORTED: size.long}
    if options.sdk_runs:
        parts |= {f"{what}-sdk": options.sdk_runs for what, runs in parts.items() if options.sdk_runs < runs}
    with tempfile.TemporaryDirectory(prefix="export-") as directory:
        work = Path(directory)
        asyncio.run(fill(work / "data", size, parts))
        with sandbox_process(work / "data") as sandbox:
            for project in parts:
                if project.startswith(EXPORTED):
                    export(sandbox, project, parts[project])
            starts = {
                client: read(client, "start", "listing", 1, 1, sandbox, work).cost
                for client in ("engine", "sdk")
            }
            for client, start in starts.items():
                print(f"{client} starts in {start.wall_s:.1f} s, {start.cpu_s:.1f} s of CPU")
            print("| what | wall s | CPU s | peak MB | req/run | CPU ms/run | server | all: wall s | read |")
            print("|---|---|---|---|---|---|---|---|---|")
            for what, clients in (
                ("listing", ("engine", "sdk", "sdk-eager")),
                (LIVE, ("engine", "sdk")),
                (EXPORTED, ("engine", "sdk")),
            ):
                for client in clients:
                    is_ours = client == "engine"
                    project = what if is_ours or f"{what}-sdk" not in parts else f"{what}-sdk"
                    # The SDK as the guide uses it; ours as its documentation advises.
                    per_page = 500 if is_ours else 50
                    found = read(client, what, project, parts[project], per_page, sandbox, work)
                    print(found.line(parts[what], starts[client.partition("-")[0]]), flush=True)


if __name__ == "__main__":
    main()
