"""Where runs go: entities, projects and groups."""

from __future__ import annotations

from typing import Any

import pytest
import wandb

from engine.errors import AuthError, ConfigError
from engine.protocols import SystemOptions
from engine.records import (
    Namespace,
    Project,
)
from engine.transfer.context import Context
from engine.wandb import WandbDestination
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY, Opened
from tests.wandb.making import a_run, write

pytestmark = pytest.mark.anyio


def project(name: str, **more: Any) -> Project:
    return Project(namespace=Namespace("", name), id=name, **more)


async def test_each_experiment_becomes_a_project_if_only_an_entity_is_named(
    sandbox: RunningSandbox, context: Context, api: wandb.Api
):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    sources = [project("plain exp"), project("/Users/ada/exp", description="About it"), project("moved")]
    context.remap = {"moved": "elsewhere"}
    async with destination.open(context):
        targets = await destination.prepare(sources)
        again = await destination.prepare(sources)
    assert again == targets
    assert targets[Namespace("", "plain exp")] == Namespace(ENTITY, "plain exp")
    assert targets[Namespace("", "moved")] == Namespace(ENTITY, "elsewhere")
    slug = targets[Namespace("", "/Users/ada/exp")].project
    assert slug.startswith("Users-ada-exp-")
    assert context.losses.counts["project_renamed"] == 2
    assert {"plain exp", "elsewhere", slug} <= {found.name for found in api.projects(ENTITY)}
    described = sandbox.graphql(
        "query($e:String!,$p:String!){project(name:$p,entityName:$e){description}}", e=ENTITY, p=slug
    )
    assert described["project"]["description"] == "About it\n\nImported from '/Users/ada/exp'"


async def test_experiments_that_meet_in_one_project_become_groups(opened: Opened, api: wandb.Api):
    async with opened(source="Experiment A") as (destination, namespace):
        await write(destination, namespace, a_run(namespace=Namespace("", "Experiment A")))
        await write(destination, namespace, a_run(id="other", group="own"))
    assert api.run(f"{namespace.path}/{a_run().id}").group == "Experiment A"
    assert api.run(f"{namespace.path}/other").group == "own"


async def test_experiments_can_be_groups_without_a_project_in_the_uri(
    sandbox: RunningSandbox, context: Context
):
    options = SystemOptions(api_key=sandbox.api_key, experiments_as="group")
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", options)
    async with destination.open(context):
        targets = await destination.prepare([project("a"), project("b")])
    assert set(targets.values()) == {Namespace(ENTITY, "imported-from-mlflow")}


async def test_experiments_that_differ_by_case_are_not_merged(
    sandbox: RunningSandbox, context: Context, api: wandb.Api
):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    async with destination.open(context):
        targets = await destination.prepare([project("Case"), project("case")])
    assert len({target.project.casefold() for target in targets.values()}) == 2
    assert context.losses.counts["project_renamed"] == 2


@pytest.mark.parametrize("wish", ["a/b/c", "/project", "team/", "bad#name"])
async def test_a_remapping_to_no_project_is_refused(sandbox: RunningSandbox, context: Context, wish: str):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    context.remap = {"x": wish}
    async with destination.open(context):
        with pytest.raises(ConfigError, match="cannot remap"):
            await destination.prepare([project("x")])


def test_one_project_and_a_project_each_contradict(sandbox: RunningSandbox):
    with pytest.raises(ConfigError, match="names one project"):
        WandbDestination(f"{sandbox.url}/team/one", SystemOptions(experiments_as="project"))


async def test_an_unknown_entity_is_told_with_those_that_work(sandbox: RunningSandbox, context: Context):
    destination = WandbDestination(f"{sandbox.url}/nobody/x", SystemOptions(api_key=sandbox.api_key))
    with pytest.raises(ConfigError, match=f"nobody.*{ENTITY}"):
        async with destination.open(context):
            pass


async def test_a_wrong_key_is_refused(sandbox: RunningSandbox, context: Context):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}/x", SystemOptions(api_key="0" * 40))
    with pytest.raises(AuthError, match="check that the key is one of this server"):
        async with destination.open(context):
            pass
