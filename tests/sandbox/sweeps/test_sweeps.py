"""Sweeps and agents as the protocol has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.servers import RunningSandbox

UPSERT = """mutation ($input: UpsertSweepInput!) { upsertSweep(input: $input) {
    inserted configValidationWarnings sweep { id name state method runCountExpected project { name } } } }"""
AGENT = "mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id name host } } }"
BEAT = "mutation ($input: AgentHeartbeatInput!) { agentHeartbeat(input: $input) { agent { id } commands } }"
READ = """query ($p: String, $s: String!) { project(name: $p) { totalSweeps sweep(sweepName: $s) {
    state runCount runs { edges { node { name state config sweepName } } }
    agents { edges { node { host totalRuns runs { edges { node { name } } } } } } } } }"""
RUN = """query ($p: String, $r: String!) { model(name: $p) { bucket(name: $r, missingOk: true) {
    config wandbConfig(keys: ["t"]) sweep { name } agent { host } } } }"""

GRID = """
method: grid
program: train.py
parameters:
  lr: {values: [0.1, 0.2]}
  net: {parameters: {depth: {values: [1, 2]}}}
"""


def create(sandbox: RunningSandbox, project: str, config: str = GRID, **fields: Any) -> Any:
    given = {"entityName": "ann", "projectName": project, "config": config, **fields}
    return sandbox.graphql(UPSERT, input=given)["upsertSweep"]


def agent_of(sandbox: RunningSandbox, project: str, sweep: str) -> Any:
    given = {"entityName": "ann", "projectName": project, "sweep": sweep, "host": "here"}
    return sandbox.graphql(AGENT, input=given)["createAgent"]["agent"]["id"]


def beat(sandbox: RunningSandbox, agent: str, *running: str) -> Any:
    state = json.dumps(dict.fromkeys(running, True))
    given = {"id": agent, "metrics": "{}", "runState": state}
    return json.loads(sandbox.graphql(BEAT, input=given)["agentHeartbeat"]["commands"])


def test_a_grid_is_walked_once_and_then_the_agent_is_sent_home(sandbox: RunningSandbox, project: str) -> None:
    sweep = create(sandbox, project)["sweep"]
    assert (sweep["state"], sweep["method"], sweep["runCountExpected"]) == ("PENDING", "grid", 4)
    agent = agent_of(sandbox, project, sweep["name"])
    seen = []
    for _ in range(4):
        (command,) = beat(sandbox, agent)
        assert (command["type"], command["program"]) == ("run", "train.py")
        seen.append((command["args"]["lr"]["value"], command["args"]["net"]["value"]["depth"]))
    assert seen == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    assert beat(sandbox, agent) == [{"type": "exit"}]
    found = sandbox.graphql(READ, p=project, s=sweep["name"])["project"]
    assert (found["totalSweeps"], found["sweep"]["state"], found["sweep"]["runCount"]) == (1, "FINISHED", 4)
    (edge,) = found["sweep"]["agents"]["edges"]
    assert (edge["node"]["host"], edge["node"]["totalRuns"]) == ("here", 4)


def test_a_run_exists_before_its_process_but_counts_as_not_started(
    sandbox: RunningSandbox, project: str
) -> None:
    sweep = create(sandbox, project)["sweep"]["name"]
    (command,) = beat(sandbox, agent_of(sandbox, project, sweep))
    run = sandbox.graphql(RUN, p=project, r=command["run_id"])["model"]["bucket"]
    assert json.loads(run["config"]) == command["args"]
    assert "t" not in json.loads(run["wandbConfig"] or "{}")
    assert (run["sweep"], run["agent"]) == ({"name": sweep}, {"host": "here"})


def test_an_agent_that_is_busy_gets_nothing_more(sandbox: RunningSandbox, project: str) -> None:
    agent = agent_of(sandbox, project, create(sandbox, project)["sweep"]["name"])
    (command,) = beat(sandbox, agent)
    assert beat(sandbox, agent, command["run_id"]) == []


def test_a_stopped_run_is_stopped_by_its_agent(sandbox: RunningSandbox, project: str) -> None:
    agent = agent_of(sandbox, project, create(sandbox, project)["sweep"]["name"])
    (command,) = beat(sandbox, agent)
    query = "query ($p: String, $r: String!) { project(name: $p) { run(name: $r) { id } } }"
    run = sandbox.graphql(query, p=project, r=command["run_id"])["project"]["run"]["id"]
    sandbox.graphql("mutation ($i: StopRunInput!) { stopRun(input: $i) { success } }", i={"id": run})
    assert beat(sandbox, agent, command["run_id"]) == [{"type": "stop", "run_id": command["run_id"]}]


@pytest.mark.parametrize(("state", "commands"), [("PAUSED", []), ("CANCELED", [{"type": "exit"}])])
def test_the_state_of_a_sweep_steers_its_agents(
    sandbox: RunningSandbox, project: str, state: str, commands: list[Any]
) -> None:
    sweep = create(sandbox, project)["sweep"]
    agent = agent_of(sandbox, project, sweep["name"])
    changed = sandbox.graphql(UPSERT, input={"id": sweep["id"], "state": state})["upsertSweep"]
    assert not changed["inserted"]
    assert beat(sandbox, agent) == commands


def test_the_agent_of_a_deleted_sweep_gets_404(sandbox: RunningSandbox, project: str) -> None:
    sweep = create(sandbox, project)["sweep"]
    agent = agent_of(sandbox, project, sweep["name"])
    query = "mutation ($i: DeleteSweepInput!) { deleteSweep(input: $i) { affectedAgents affectedRuns } }"
    beat(sandbox, agent)
    gone = sandbox.graphql(query, i={"id": sweep["id"], "deleteRuns": False})["deleteSweep"]
    assert gone == {"affectedAgents": 1, "affectedRuns": 1}
    assert sandbox.ask(BEAT, input={"id": agent})[0] == 404


def test_random_search_stays_within_its_bounds_and_cap(sandbox: RunningSandbox, project: str) -> None:
    config = """
    method: random
    run_cap: 5
    parameters:
      lr: {distribution: log_uniform_values, min: 0.001, max: 0.1}
      layers: {min: 1, max: 4}
      kind: {values: [a, b]}
    """
    agent = agent_of(sandbox, project, create(sandbox, project, config)["sweep"]["name"])
    drawn = []
    while (command := beat(sandbox, agent)[0])["type"] == "run":
        drawn.append({name: argument["value"] for name, argument in command["args"].items()})
    assert len(drawn) == 5
    assert all(0.001 <= point["lr"] <= 0.1 for point in drawn)
    assert all(point["layers"] in (1, 2, 3, 4) and point["kind"] in ("a", "b") for point in drawn)
    assert len({point["lr"] for point in drawn}) == 5


def test_bayes_is_accepted_with_a_warning(sandbox: RunningSandbox, project: str) -> None:
    config = "{method: bayes, metric: {name: loss}, parameters: {lr: {min: 0.0, max: 1.0}}}"
    assert "at random" in create(sandbox, project, config)["configValidationWarnings"][0]


@pytest.mark.parametrize(
    "config",
    ["{", "method: guess", "method: grid", "{method: grid, parameters: {lr: {min: 0.0, max: 1.0}}}",
     "{method: random, parameters: {lr: {distribution: weird}}}", "{method: random, parameters: {lr: 1}}"],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(sandbox: RunningSandbox, project: str, config: str) -> None:
    given = {"entityName": "ann", "projectName": project, "config": config}
    assert sandbox.ask(UPSERT, input=given)[0] == 400
