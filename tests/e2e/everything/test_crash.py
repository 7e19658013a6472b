"""A copy that is killed at any moment and begun again, as often as it takes, is a copy like any other."""

from __future__ import annotations

import secrets
from functools import partial

import pytest

from tests.e2e.everything.copies import Copies
from tests.e2e.everything.sdk_world import LINEAGE
from tests.e2e.rehearsing import survives


def test_collections_survive_kills_at_any_moment(copies: Copies) -> None:
    survives(partial(copies.of, LINEAGE), copies.undisturbed(LINEAGE), secrets.randbelow(10**6), moments=3)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_so_does_everything_at_a_hundred_moments(copies: Copies) -> None:
    survives(copies.of, copies.undisturbed(), secrets.randbelow(10**6), moments=100)
