"""Moves many small artifacts to an object store that answers SlowDown beyond a rate.

    python benchmarks/slowdown.py [--artifacts 500] [--rate 50] [--old-artifacts 40]

Each MLflow run holds one point and one file, which becomes an artifact: with the manifest and the run's
metadata, three objects; the importer 0.27.0 makes eight. The store allows ``rate`` PUT/s by a token bucket
that its clients cannot see. The rate of a client is what was accepted between its first and its last PUT.
Only what the official SDK finds afterwards counts as arrived. The old importer's environment is the one of
``mlflow_to_wandb.py``; if it is not there, only this engine runs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import wandb
from mlflow import MlflowClient

from benchmarks.processes import Cost, SandboxProcess, measured, mlflow_process, sandbox_process

HERE = Path(__file__).parent
FILE_BYTES = 4096
POLL_S = 0.1


@dataclass
class Watch:
    """Looks at a sandbox's counter of accepted PUTs while a client runs."""

    sandbox: SandboxProcess
    seen: list[tuple[float, int]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()
        self._note()

    def _look(self) -> None:
        while not self._stop.wait(POLL_S):
            self._note()

    def _note(self) -> None:
        self.seen.append((time.monotonic(), self.sandbox.counters().get("object PUT", 0)))

    @property
    def puts(self) -> int:
        return self.seen[-1][1] - self.seen[0][1]

    @property
    def rate(self) -> float:
        """Accepted PUTs per second, from the first to the last."""
        first, last = self.seen[0][1], self.seen[-1][1]
        began = max(at for at, count in self.seen if count == first)
        ended = min(at for at, count in self.seen if count == last)
        return self.puts / max(POLL_S, ended - began)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    artifacts: int
    arrived: int
    cost: Cost
    puts: int
    rate: float
    rejected: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifacts", type=int, default=500)
    parser.add_argument("--rate", type=int, default=50, help="PUT/s that the store allows")
    parser.add_argument("--old-artifacts", type=int, default=40, help="for the old importer; 0 for none")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/transfer-engine-bench").expanduser())
    options = parser.parse_args()
    old_python = options.cache / "old-importer" / "bin" / "python"
    rows = []
    with tempfile.TemporaryDirectory(prefix="slowdown-") as scratch:
        work = Path(scratch)
        store = _store(options.artifacts, options.cache)
        uri, served = f"sqlite:///{store / 'mlflow.db'}", store / "artifacts"
        engine = [
            sys.executable,
            "-m",
            "engine.cli.main",
            "migrate",
            "--verify",
            "none",
            f"mlflow:{uri}",
            "wandb:{url}/{project}",
        ]
        engine += ["--artifact-root", f"mlflow-artifacts:/={served}/"]
        rows.append(_row("engine", options.artifacts, options.rate, engine, work))
        if options.old_artifacts and old_python.exists():
            few = min(options.artifacts, options.old_artifacts)
            with mlflow_process(uri, served, work / "mlflow.log", workers=2) as mlflow:
                old = [str(old_python), str(HERE / "old_importer.py"), mlflow.url, "{url}", "{project}"]
                rows.append(_row("importer 0.27.0", few, options.rate, [*old, str(few)], work))
        elif options.old_artifacts:
            print("no old importer here: run benchmarks/mlflow_to_wandb.py first", file=sys.stderr)
    _show(rows, options.rate)


def _store(artifacts: int, cache: Path) -> Path:
    """An MLflow store of so many runs with one file each, from the cache or new."""
    store = cache / f"one-file-one-point-{artifacts}"
    if store.exists():
        return store
    making = cache / f"making-one-file-one-point-{artifacts}"
    shutil.rmtree(making, ignore_errors=True)
    (making / "artifacts").mkdir(parents=True)
    client = MlflowClient(f"sqlite:///{making / 'mlflow.db'}")
    experiment = client.create_experiment("slowdown", artifact_location="mlflow-artifacts:/1")
    for number in range(artifacts):
        run_id = client.create_run(experiment, run_name=f"run {number}").info.run_id
        file = making / "artifacts" / "1" / run_id / "artifacts" / "weights.bin"
        file.parent.mkdir(parents=True)
        file.write_bytes(number.to_bytes(4, "big") * (FILE_BYTES // 4))
        # The old importer leaves the artifacts of runs without metrics behind.
        client.log_metric(run_id, "loss", 1.0)
        client.set_terminated(run_id)
    making.rename(store)
    return store


def _row(name: str, artifacts: int, rate: int, command: list[str], work: Path) -> Row:
    """Run one client against a sandbox of its own, so that neither inherits the other's tokens."""
    print(f"{name} …", file=sys.stderr)
    label = name.partition(" ")[0]
    with sandbox_process(work / label, "--fault", f"objects PUT: limit {rate}/s") as sandbox:
        project = f"{sandbox.entity}/slowdown"
        with Watch(sandbox) as watch:
            cost = measured(
                [part.format(url=sandbox.url, project=project) for part in command],
                environ={
                    "WANDB_API_KEY": sandbox.api_key,
                    "WANDB_BASE_URL": sandbox.url,
                    "WANDB_ERROR_REPORTING": "false",
                },
                log=work / f"{label}.log",
                cwd=work,
            )
        rejected = sandbox.faults()[0]["acted"]
        return Row(name, artifacts, _arrived(sandbox, project), cost, watch.puts, watch.rate, rejected)


def _arrived(sandbox: SandboxProcess, project: str) -> int:
    """Artifacts with their file, as the SDK finds them."""
    api = wandb.Api(overrides={"base_url": sandbox.url}, api_key=sandbox.api_key, timeout=60)
    return sum(
        len(artifact.manifest.entries) == 1
        for run in api.runs(project, per_page=500)
        for artifact in run.logged_artifacts()
    )


def _show(rows: list[Row], rate: int) -> None:
    print(f"\nThe store allows {rate} PUT/s.\n")
    print("| client | artifacts arrived | exit status | wall s | PUTs | PUT/s | of the possible | rejected |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.name} | {row.arrived}/{row.artifacts} | {row.cost.status} | {row.cost.wall_s:.1f} "
            f"| {row.puts} | {row.rate:.1f} | {row.rate / rate:.1%} "
            f"| {row.rejected / max(1, row.puts + row.rejected):.1%} |"
        )


if __name__ == "__main__":
    main()
