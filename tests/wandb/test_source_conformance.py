"""The W&B source passes the checks that every source has to pass, on what the official SDK wrote."""

from __future__ import annotations

import pytest

from engine.protocols import SystemOptions
from engine.wandb import WandbSource
from tests.conformance import SourceConformance, context
from tests.servers import RunningSandbox

__all__ = ["context"]


class TestWandbSource(SourceConformance):
    @pytest.fixture
    def source(self, filled: RunningSandbox) -> WandbSource:
        return WandbSource(f"{filled.url}/rehearsal", SystemOptions(api_key=filled.api_key))
