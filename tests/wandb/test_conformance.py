"""The W&B destination passes the checks that every destination has to pass."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import wandb

from engine.protocols import Destination, SystemOptions
from engine.wandb import WandbDestination
from tests.conformance import DestinationConformance, context
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY

__all__ = ["context"]


class TestWandbDestination(DestinationConformance):
    @pytest.fixture(autouse=True)
    def reader(self, api: wandb.Api) -> None:
        self.api = api

    @pytest.fixture
    def destination(self, sandbox: RunningSandbox) -> WandbDestination:
        self.path = f"{ENTITY}/{uuid4().hex}"
        return WandbDestination(f"{sandbox.url}/{self.path}", SystemOptions(api_key=sandbox.api_key))

    async def snapshot(self, destination: Destination) -> Any:
        self.api.flush()
        return [
            (
                run.id,
                run.name,
                run.state,
                run.notes,
                run.group,
                dict(run.config),
                repr(sorted(run.summary.items())),
                repr([sorted(row.items()) for row in run.scan_history()]),
                sorted((file.name, file.size, file.md5) for file in run.files()),
                sorted(
                    (artifact.name, artifact.digest, artifact.size) for artifact in run.logged_artifacts()
                ),
            )
            for run in self.api.runs(self.path, lazy=False)
        ]
