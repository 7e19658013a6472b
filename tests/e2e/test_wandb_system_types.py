"""Types of artifacts that W&B itself makes, each by its rule in ``docs/wandb-to-wandb.md``."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest

from engine.sandbox import Account
from engine.transfer.options import Result
from tests.e2e.by_hand import at_source
from tests.e2e.wandb_pair import A, B, Pair, Plug, api_of
from tests.servers import running_sandbox

PROJECT = "system"
JOB = {"source_type": "artifact", "source": {"artifact": "wandb-artifact://_id/QXJ0aWZhY3Q6MQ=="}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with (
        running_sandbox(tmp_path_factory.mktemp("a"), accounts=[Account(A)]) as source,
        running_sandbox(tmp_path_factory.mktemp("b"), accounts=[Account(B)]) as target,
    ):
        yield Pair(source, target, Plug())


@pytest.fixture(scope="module")
def result(pair: Pair) -> Result:
    artifacts = at_source(pair, PROJECT)
    for name, kind, path, content in (
        ("run-r-history", "wandb-history", "0000.parquet", b"PAR1"),
        ("run-r-table", "run_table", "table.table.json", b'{"columns": [], "data": []}'),
        ("source-system-train.py", "code", "train.py", b"print()"),
        ("job-train", "job", "wandb-job.json", json.dumps(JOB).encode()),
    ):
        artifacts.log(name, {path: content}, runName="r", artifactTypeName=kind)
    result = pair.move(PROJECT, PROJECT)
    assert result.failures == []
    return result


@pytest.mark.usefixtures("result")
def test_exports_of_histories_are_left_to_the_destination(pair: Pair) -> None:
    kinds = {kind.name for kind in api_of(pair.target).artifact_types(f"{B}/{PROJECT}")}
    assert kinds == {"run_table", "code", "job"}


@pytest.mark.usefixtures("result")
@pytest.mark.parametrize("name", ["run-r-table", "source-system-train.py", "job-train"])
def test_tables_code_and_jobs_are_the_same_under_the_same_name(pair: Pair, name: str) -> None:
    digests = {
        api_of(server).artifact(f"{entity}/{PROJECT}/{name}:v0").digest
        for server, entity in ((pair.source, A), (pair.target, B))
    }
    assert len(digests) == 1


def test_what_a_job_says_of_its_code_is_told(result: Result) -> None:
    (loss,) = result.loss_examples["job_source_kept"]
    assert loss.subject == f"artifact {B}/{PROJECT}/job-train:v0"
