"""A plan between W&B servers also counts what belongs to no single run."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Options, Plan
from tests.e2e.copied import PROJECT, Writer
from tests.e2e.wandb_pair import A, B, Pair, api_of, running_pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with running_pair(tmp_path_factory) as pair:
        Writer(pair.source, A).fill()
        yield pair


def planned(pair: Pair, target: str, options: Options) -> Plan:
    return anyio.run(pair.engine(PROJECT, target, options).plan)


def wholes(plan: Plan) -> tuple[int, ...]:
    amounts = (plan.collections, plan.versions, plan.portfolios, plan.sweeps, plan.reports)
    assert all(amount.exact for amount in amounts)
    return tuple(amount.about for amount in amounts)


def test_it_counts_what_there_is_then_what_is_left_then_nothing(pair: Pair, tmp_path: Path) -> None:
    options = Options(state_dir=tmp_path)
    before = pair.target.counters()["writes"]
    assert wholes(planned(pair, "counted", options)) == (2, 3, 1, 1, 2)
    assert pair.target.counters()["writes"] == before
    assert pair.move(PROJECT, "counted", options).failures == []
    again = planned(pair, "counted", options)
    assert wholes(again) == (0, 0, 0, 0, 0)
    assert again.is_nothing
    Writer(pair.source, A).report("Later", {"type": "paragraph", "children": [{"text": "new"}]})
    assert wholes(planned(pair, "counted", options)) == (0, 0, 0, 0, 1)


def test_it_leaves_out_what_is_not_asked_for(pair: Pair, tmp_path: Path) -> None:
    options = Options(state_dir=tmp_path, artifacts=False, reports=False)
    assert wholes(planned(pair, "less", options)) == (0, 0, 0, 1, 0)


def test_what_an_old_ledger_proves_is_not_to_be_moved(pair: Pair, tmp_path: Path) -> None:
    pair.move(PROJECT, "inherited", Options())
    row = {"src_entity": A, "src_project": PROJECT, "dst_entity": B, "dst_project": "inherited"}
    lines = [json.dumps({**row, "run_id": "reader"}), json.dumps({**row, "run_id": "maker"})]
    (tmp_path / "run_successes.jsonl").write_text("\n".join(lines))
    plan = planned(pair, "inherited", Options(old_ledger=tmp_path))
    # The artifacts of the other run are not proven.
    assert (plan.runs_found, plan.runs_to_move, plan.runs_arrived) == (2, 1, 1)


def test_a_registry_that_would_be_created_is_told_and_then_is_nothing_to_tell(
    pair: Pair, tmp_path: Path
) -> None:
    api_of(pair.source).create_registry(
        name="planned", visibility="restricted", organization="sandbox", artifact_types=["dataset"]
    )
    version: Any = api_of(pair.source).artifact(f"{A}/{PROJECT}/ds:v0")
    version.link("wandb-registry-planned/chosen")
    options = Options(state_dir=tmp_path)
    plan = planned(pair, "to-registry", options)
    assert plan.portfolios.about == 2
    (told,) = [warning for warning in plan.warnings if warning.kind == "registry_created"]
    assert told.subject == "registry sandbox-org/wandb-registry-planned"
    assert pair.move(PROJECT, "to-registry", options).failures == []
    again = planned(pair, "to-registry", options)
    assert (again.warnings, again.portfolios.about) == ((), 0)
