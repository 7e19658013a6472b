"""What can be wrong with a copy: how to make it so, and how it must be named when it is found.

A case is the run that is spoiled, what is done to it, and kind, part and some words of the difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from tests.e2e.planting import Spoiler
from tests.stores import BEGAN

INF = math.inf
ALIASES_OF = "membership = (SELECT number FROM artifact_memberships WHERE artifact = ?)"

Plant: TypeAlias = Callable[[Spoiler, Callable[[str], str]], object]
"""Gets what spoils, and what finds the id of a run by its label."""

Case: TypeAlias = tuple[str, Plant, tuple[str, ...]]


def set_to(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update(values)


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(key)


def of_value(key: str, edit: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    """Edit what a key of a config holds."""
    return lambda config: edit(config[key]["value"])


def swap_rows(spoiler: Spoiler, run: str) -> None:
    number = spoiler.number(run)
    first, second = (
        json.loads(spoiler.value("SELECT row FROM history WHERE run = ? AND line = ?", number, line))
        for line in (1, 2)
    )
    # Only what stands in them, so that their numbers still increase.
    spoiler.row(run, 1, set_to(m=second["m"]))
    spoiler.row(run, 2, set_to(m=first["m"]))


def move_edge(spoiler: Spoiler, source: str, target: str) -> None:
    artifact = spoiler.artifact(source)
    spoiler.change("UPDATE run_outputs SET run = ? WHERE artifact = ?", spoiler.number(target), artifact)


HISTORY: dict[str, Case] = {
    "one float by its last bit": (
        "sweep-0",
        lambda s, i: s.row(i("sweep-0"), 3, lambda row: row.update(loss=math.nextafter(row["loss"], 9))),
        ("changed", "history", "metric 'loss'", "step 3: 0.25 expected, 0.25000000000000006 found"),
    ),
    "a missing row": (
        "sweep-0",
        lambda s, i: s.change("DELETE FROM history WHERE run = ? AND line = 39", s.number(i("sweep-0"))),
        ("changed", "history", "metric 'acc'", "40 points expected, 39 found", "step 39", "nothing found"),
    ),
    "an extra row": (
        "sweep-0",
        lambda s, i: s.append_row(
            i("sweep-0"), {"_step": 900, "_timestamp": BEGAN / 1000, "_runtime": 0.0, "loss": 1.5}
        ),
        ("changed", "history", "metric 'loss'", "step 900: nothing expected, 1.5 found"),
    ),
    "an extra row without values": (
        "resequenced",
        lambda s, i: s.append_row(i("resequenced"), {"_step": 30, "mlflow/step": 7}),
        ("extra", "history", "1 rows without a value"),
    ),
    "a row at another step": (
        "sweep-0",
        lambda s, i: s.row(i("sweep-0"), 39, set_to(_step=40)),
        ("changed", "history", "metric 'acc'", "step 39", "step 40"),
    ),
    "the time of a row": (
        "sweep-0",
        lambda s, i: s.row(i("sweep-0"), 7, set_to(_timestamp=(BEGAN + 7_004) / 1000, _runtime=7.004)),
        ("changed", "history", "times of rows", f"step 7: {BEGAN + 7_003} expected, {BEGAN + 7_004} found"),
    ),
    "the runtime of a row": (
        "sweep-0",
        lambda s, i: s.row(i("sweep-0"), 7, set_to(_runtime=8.5)),
        ("changed", "history", "_runtime of a row"),
    ),
    "a float that became a text": (
        "sweep-0",
        lambda s, i: s.row(i("sweep-0"), 1, set_to(loss="0.5")),
        ("changed", "history", "metric 'loss'", 'step 1: 0.5 expected, "0.5" found'),
    ),
    "a NaN that became null": (
        "numbers",
        lambda s, i: s.row(i("numbers"), 1, set_to(m=None)),
        ("changed", "history", "metric 'm'", "step 1: NaN expected, nothing found"),
    ),
    "an infinity that became a large number": (
        "numbers",
        lambda s, i: s.row(i("numbers"), 2, set_to(m=1.7976931348623157e308)),
        ("changed", "history", "metric 'm'", "step 2: Infinity expected"),
    ),
    "a sign": (
        "numbers",
        lambda s, i: s.row(i("numbers"), 3, set_to(m=INF)),
        ("changed", "history", "metric 'm'", "step 3: -Infinity expected, Infinity found"),
    ),
    "a metric that the source does not have": (
        "sweep-0",
        lambda s, i: s.row(i("sweep-0"), 3, set_to(guess=1.0)),
        ("extra", "history", "metric 'guess'", "1 points that the source does not have"),
    ),
    "a metric that is gone": (
        "keys",
        lambda s, i: s.rows(i("keys"), without("Ω 😀")),
        ("missing", "history", "metric 'Ω 😀'", "all of its 4 points are missing"),
    ),
    "a metric under the name of another": (
        "keys",
        lambda s, i: s.rows(i("keys"), lambda row: row.update({"other": row.pop("mlflow/_step")})),
        ("missing", "history", "metric 'mlflow/_step'", "all of its 4 points are missing"),
    ),
    "the own step of a row that was numbered anew": (
        "resequenced",
        lambda s, i: s.row(i("resequenced"), 4, set_to(**{"mlflow/step": 5})),
        ("changed", "history", "metric 'm'", "step -1: 4.0 expected", "step 5: nothing expected, 4.0 found"),
    ),
    "two rows of a step in another order": (
        "resequenced",
        lambda s, i: swap_rows(s, i("resequenced")),
        ("changed", "history", "metric 'm': values of one step are not in the order of their times"),
    ),
    "a value that comes twice": (
        "resequenced",
        lambda s, i: s.append_row(
            i("resequenced"),
            {"_step": 30, "mlflow/step": 7, "_timestamp": BEGAN / 1000 + 29, "_runtime": 29.0, "m": 29.0},
        ),
        ("changed", "history", "metric 'm'", "30 points expected, 31 found", "step 7: nothing expected"),
    ),
}


SAID: dict[str, Case] = {
    "a number of files": (
        "sweep-2",
        lambda s, i: s.change("DELETE FROM run_files WHERE run = ?", s.number(i("sweep-2"))),
        ("missing", "files", "1 files expected, 0 found"),
    ),
    "a number of artifacts": (
        "sweep-2",
        lambda s, i: s.change("DELETE FROM run_outputs WHERE run = ?", s.number(i("sweep-2"))),
        ("missing", "artifacts", "1 artifacts expected, 0 found"),
    ),
    "the name": (
        "sweep-1",
        lambda s, i: s.field(i("sweep-1"), "display_name", "x"),
        ("changed", "name", '"trial 1" expected, "x" found'),
    ),
    "a note": (
        "datasets",
        lambda s, i: s.field(i("datasets"), "notes", "# Notes"),
        ("changed", "notes", "# Notes"),
    ),
    "the group": (
        "sweep-1",
        lambda s, i: s.field(i("sweep-1"), "run_group", "text"),
        ("changed", "group", '"sweep 1" expected, "text" found'),
    ),
    "the state": (
        "sweep-1",
        lambda s, i: s.field(i("sweep-1"), "state", "failed"),
        ("changed", "state", '"finished" expected, "failed" found'),
    ),
    "the job type": (
        "sweep-1",
        lambda s, i: s.field(i("sweep-1"), "job_type", None),
        ("changed", "job type", '"User ada" expected, null found'),
    ),
    "the commit": (
        "text-failed",
        lambda s, i: s.field(i("text-failed"), "commit_hash", "b" * 40),
        ("changed", "commit", "bbbb"),
    ),
    "the program": (
        "text-failed",
        lambda s, i: s.document(
            i("text-failed"),
            "config",
            of_value("_wandb", lambda w: w["e"]["import"].update(program="test.py")),
        ),
        ("changed", "program", '"test.py" found'),
    ),
    "a lost tag": (
        "deleted",
        lambda s, i: s.field(i("deleted"), "tags", "[]"),
        ("missing", "tag", "tag 'deleted' is missing"),
    ),
    "an extra tag": (
        "sweep-1",
        lambda s, i: s.field(i("sweep-1"), "tags", '["best"]'),
        ("extra", "tag", "tag 'best'"),
    ),
    "a param": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "config", set_to(lr={"value": "0.2"})),
        ("changed", "config", 'config \'lr\': "0.1" expected, "0.2" found'),
    ),
    "a text that became a number": (
        "text-failed",
        lambda s, i: s.document(i("text-failed"), "config", set_to(epochs={"value": 3})),
        ("changed", "config", "config 'epochs': \"3\" expected, 3 found"),
    ),
    "an extra param": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "config", set_to(x={"value": None})),
        ("extra", "config", "config 'x' is null; the source has none"),
    ),
    "a missing param": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "config", without("lr")),
        ("missing", "config", "config 'lr' is missing"),
    ),
    "a label": (
        "text-failed",
        lambda s, i: s.document(
            i("text-failed"), "config", of_value("imported_mlflow_tags", set_to(release="no"))
        ),
        ("changed", "label", "label 'release'"),
    ),
    "when it began": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "config", of_value("_import", set_to(started_at=BEGAN))),
        ("changed", "_import", f"'started_at': {BEGAN + 1_000} expected"),
    ),
    "its parent": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "config", of_value("_import", without("parent_id"))),
        ("missing", "_import", "'parent_id' is missing"),
    ),
    "a dataset": (
        "datasets",
        lambda s, i: s.document(
            i("datasets"), "config", of_value("_import", lambda known: known["inputs"].pop())
        ),
        ("changed", "_import", "'inputs'"),
    ),
    "a last value": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "summary", set_to(acc=0.5)),
        ("changed", "summary", "summary 'acc'", "0.5 found"),
    ),
    "a last value that became a text": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "summary", set_to(loss="0.025")),
        ("changed", "summary", '0.025 expected, "0.025" found'),
    ),
    "an extra last value": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "summary", set_to(best=1)),
        ("extra", "summary", "summary 'best'"),
    ),
    "a missing last value": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "summary", without("acc")),
        ("missing", "summary", "summary 'acc'"),
    ),
    "how long it took": (
        "sweep-1",
        lambda s, i: s.document(i("sweep-1"), "summary", set_to(_runtime=1.0)),
        ("changed", "runtime", "1.0 found"),
    ),
    "the run itself": (
        "sweep-1",
        lambda s, i: s.change("DELETE FROM runs WHERE name = ?", i("sweep-1")),
        ("missing", "run", "is missing in e2e/copy"),
    ),
    "the run under another id": (
        "sweep-1",
        lambda s, i: s.field(i("sweep-1"), "name", "elsewhere"),
        ("missing", "run", "is missing in e2e/copy"),
    ),
}

CONTENT: dict[str, Case] = {
    "a file that every run has": (
        "sweep-1",
        lambda s, i: s.change("DELETE FROM run_files WHERE run = ?", s.number(i("sweep-1"))),
        ("missing", "file", "wandb-metadata.json"),
    ),
    "an extra file": (
        "sweep-1",
        lambda s, i: s.change("UPDATE run_files SET name = 'x' WHERE run = ?", s.number(i("sweep-1"))),
        ("missing", "file", "wandb-metadata.json"),
    ),
    "a missing edge": (
        "sweep-2",
        lambda s, i: s.change("DELETE FROM run_outputs WHERE run = ?", s.number(i("sweep-2"))),
        ("missing", "artifact", "is missing, or is not told to be logged by this run"),
    ),
    "an edge from another run": (
        "sweep-2",
        lambda s, i: move_edge(s, i("sweep-2"), i("sweep-1")),
        ("missing", "artifact", "trial__2"),
    ),
    "a version that was not finished": (
        "sweep-2",
        lambda s, i: s.change(
            "UPDATE artifacts SET state = 'PENDING' WHERE number = ?", s.artifact(i("sweep-2"))
        ),
        ("missing", "artifact", "trial__2"),
    ),
    "a lost alias": (
        "sweep-2",
        lambda s, i: s.change(f"DELETE FROM artifact_aliases WHERE {ALIASES_OF}", s.artifact(i("sweep-2"))),
        ("missing", "alias", "alias 'latest' is missing"),
    ),
    "another alias": (
        "sweep-2",
        lambda s, i: s.change(
            f"UPDATE artifact_aliases SET alias = 'best' WHERE {ALIASES_OF}", s.artifact(i("sweep-2"))
        ),
        ("extra", "alias", "alias 'best'"),
    ),
    "an artifact's description": (
        "sweep-2",
        lambda s, i: s.change(
            "UPDATE artifacts SET description = '' WHERE number = ?", s.artifact(i("sweep-2"))
        ),
        ("changed", "description", "Artifacts of MLflow run trial 2"),
    ),
    "an artifact's metadata": (
        "sweep-2",
        lambda s, i: s.metadata(i("sweep-2"), set_to(mlflow_run_id="x")),
        ("changed", "metadata", "metadata 'mlflow_run_id'", '"x" found'),
    ),
    "where an artifact came from": (
        "sweep-2",
        lambda s, i: s.metadata(i("sweep-2"), lambda m: m["_import"].update(run_id="x")),
        ("changed", "_import", "'run_id'"),
    ),
    "an artifact's collection": (
        "sweep-2",
        lambda s, i: s.change(
            "UPDATE artifact_collections SET name = 'x' "
            "WHERE number = (SELECT sequence FROM artifacts WHERE number = ?)",
            s.artifact(i("sweep-2")),
        ),
        ("extra", "artifact", "logged x:v0"),
    ),
    "an artifact's digest": (
        "sweep-2",
        lambda s, i: s.change(
            "UPDATE artifacts SET digest = ? WHERE number = ?", "0" * 32, s.artifact(i("sweep-2"))
        ),
        ("changed", "artifact", "its digest is 0000"),
    ),
    "a missing entry": (
        "sweep-2",
        lambda s, i: s.manifest(i("sweep-2"), without("model/MLmodel")),
        ("missing", "entry", "entry 'model/MLmodel' is missing"),
    ),
    "an extra entry": (
        "sweep-2",
        lambda s, i: s.manifest(i("sweep-2"), lambda c: c.update(x=c["model/MLmodel"])),
        ("extra", "entry", "entry 'x' is not at the source"),
    ),
    "the size of an entry": (
        "sweep-2",
        lambda s, i: s.manifest(i("sweep-2"), lambda c: c["model/MLmodel"].update(size=1)),
        ("changed", "entry", "12 bytes expected, 1 found"),
    ),
    "the digest of an entry": (
        "sweep-2",
        lambda s, i: s.manifest(
            i("sweep-2"), lambda c: c["model/MLmodel"].update(digest="1B2M2Y8AsgTpgAmY7PhCfg==")
        ),
        ("changed", "entry", "entry 'model/MLmodel' MD5", "1B2M2Y8AsgTpgAmY7PhCfg== found"),
    ),
    "an entry that became a reference": (
        "sweep-2",
        lambda s, i: s.manifest(i("sweep-2"), lambda c: c["model/MLmodel"].update(ref="s3://b/k")),
        ("changed", "entry", "is a reference to 's3://b/k'"),
    ),
}
