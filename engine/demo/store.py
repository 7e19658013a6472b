"""Makes a small MLflow store with the real MLflow client, with curves worth looking at.

    python -m engine.demo.store DIRECTORY

It runs in a process of its own: MLflow configures logging and warnings of the process that it is used in.
"""

from __future__ import annotations

import json
import logging
import math
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

START = 1_767_225_600_000
"""2026-01-01T00:00:00Z: fixed, so that every demo is the same."""

STEPS = 150
BATCH = 1_000
"""MLflow takes at most this many metrics in one request."""

Point = tuple[str, float, int, int]
"""key, value, timestamp in ms, step"""


def tracking_uri(directory: Path) -> str:
    return f"sqlite:///{directory / 'mlflow.db'}"


def curve(rate: float, noise: random.Random, started: int) -> Iterator[Point]:
    """A training that converges at ``rate``; too high a rate diverges into NaN, as in life."""
    for step in range(STEPS):
        at = started + step * 2_000
        progress = 1 - math.exp(-rate * 40 * step / STEPS)
        wobble = noise.gauss(0, 0.02)
        diverged = rate > 0.25 and step > 90
        loss = math.nan if diverged else 2.3 * (1 - 0.93 * progress) * (1 + wobble)
        yield "train/loss", loss, at, step
        yield "train/accuracy", 0.1 if diverged else min(1.0, 0.1 + 0.88 * progress + wobble / 2), at, step
        yield "lr", rate * 0.5 * (1 + math.cos(math.pi * step / STEPS)), at, step
        if step % 10 == 9:
            yield "val/accuracy", 0.1 if diverged else 0.1 + 0.82 * progress + wobble / 3, at + 900, step
        if step % 15 == 0:
            yield "system/gpu_utilization", 70 + 25 * noise.random(), at, step


def make_store(directory: Path) -> None:
    """Fill ``directory`` with three experiments, nested runs, histories and artifacts."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(tracking_uri(directory))
    artifact_root = (directory / "artifacts").resolve()
    noise = random.Random(7)
    clock = START

    def experiment(name: str, note: str) -> str:
        return str(
            client.create_experiment(
                name,
                artifact_location=(artifact_root / name).as_uri(),
                tags={"mlflow.note.content": note, "team": "vision"},
            )
        )

    def run(
        experiment_id: str,
        name: str,
        params: dict[str, str],
        points: list[Point],
        *,
        status: str = "FINISHED",
        parent: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> str:
        nonlocal clock
        clock += 600_000
        all_tags = {"mlflow.user": "ada", "mlflow.source.git.commit": "c0ffee" + "0" * 34, **(tags or {})}
        if parent:
            all_tags["mlflow.parentRunId"] = parent
        created = client.create_run(experiment_id, start_time=clock, run_name=name, tags=all_tags)
        run_id = str(created.info.run_id)
        metrics = [Metric(key, value, at, step) for key, value, at, step in points]
        client.log_batch(
            run_id,
            metrics=metrics[:900],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag("framework", "numpy")],
        )
        for start in range(900, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        client.set_terminated(run_id, status=status, end_time=clock + STEPS * 2_000)
        return run_id

    def save(run_id: str, name: str, rate: float) -> None:
        files = directory / "files" / run_id
        (files / "model").mkdir(parents=True)
        (files / "model" / "weights.bin").write_bytes(noise.randbytes(200_000))
        (files / "model" / "MLmodel").write_text(f"flavors:\n  python_function: {{}}\nrun_id: {run_id}\n")
        (files / "report.json").write_text(json.dumps({"run": name, "rate": rate}))
        (files / "empty.marker").touch()
        client.log_artifacts(run_id, str(files))

    sweep = experiment("cifar10-learning-rate", "Which **learning rate** converges fastest?")
    parent = run(
        sweep, "sweep", {"search": "grid"}, [], tags={"mlflow.note.content": "The parent of all rates."}
    )
    for rate in (0.01, 0.03, 0.06, 0.1, 0.15, 0.3):
        name = f"rate-{rate}"
        run_id = run(
            sweep,
            name,
            {"learning_rate": str(rate), "batch_size": "128", "optimizer": "sgd"},
            list(curve(rate, noise, clock + 600_000)),
            status="FAILED" if rate > 0.25 else "FINISHED",
            parent=parent,
        )
        save(run_id, name, rate)

    baseline = experiment("cifar10-baseline", "Seeds of the same configuration.")
    for seed in range(4):
        run_id = run(
            baseline,
            f"seed-{seed}",
            {"learning_rate": "0.08", "seed": str(seed)},
            list(curve(0.08, random.Random(seed), clock + 600_000)),
            tags={"mlflow.note.content": f"Seed {seed} of the baseline."},
        )
        save(run_id, f"seed-{seed}", 0.08)

    # Logged without a step, as many do: every point is at step 0.
    scores = experiment("evaluation", "Scores without steps.")
    for name in ("holdout", "robustness"):
        at = clock + 600_000
        run(scores, name, {"suite": name}, [("score", 0.5 + n / 20, at + n * 1_000, 0) for n in range(8)])


def main() -> None:
    """Make the store named on the command line."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    make_store(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
