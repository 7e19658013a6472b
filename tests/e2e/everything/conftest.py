"""A server with one of everything, and one to copy it to."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from engine.sandbox import Account
from tests.e2e.everything.copies import SOURCE_KEY, TEAMS, Copies, silence
from tests.e2e.everything.sdk_world import ENTITY, OTHER
from tests.e2e.rehearsing import rehearsing
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import run_sdk


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("everything"), accounts=[Account(ENTITY)]) as server:
        run_sdk("tests.e2e.everything.sdk_world", server, tmp_path_factory.mktemp("sdk"))
        silence(server)
        export = {"entity": ENTITY, "project": OTHER, "run": "long", "rows": 500}
        assert server.call("POST", "/admin/history-exports", export) == (200, {"files": 3})
        yield server


@pytest.fixture(scope="session")
def copies(source: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Generator[Copies]:
    scratch, environ = tmp_path_factory.mktemp("copies"), {SOURCE_KEY: source.api_key}
    with rehearsing(scratch, teams=TEAMS, environ=environ, hurried=True) as rehearsal:
        yield Copies(source, rehearsal)
