"""Portfolios with other names: they, the versions that they link to, and the aliases there."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocols import LinkSource
from engine.records import Link, Namespace, Portfolio, Project, VersionRef
from engine.remapping.reading import read_mapping
from engine.remapping.source import remapped
from engine.transfer.context import Context
from tests.transfer.shelves import HOME, collection, shelf, version

pytestmark = pytest.mark.anyio

MAPPING = """
version: 1
artifacts: {ds: data, picks: choice}
aliases: {prod: production}
"""


async def test_links_follow_the_names_that_a_mapping_gives(tmp_path: Path):
    (tmp_path / "map.yaml").write_text(MAPPING)
    link = Link(number=0, target=VersionRef(HOME, "ds", 3), aliases=("prod",))
    origin = shelf(
        {"ds": [version("ds", 3, portfolios=["picks"])]},
        linked={"picks": Portfolio(collection=collection("picks"), links=(link,))},
        listed=("picks",),
    )
    source = remapped(origin, read_mapping(tmp_path / "map.yaml"))
    assert isinstance(source, LinkSource)
    async with source.open(Context(spool=tmp_path)):
        project = Project(namespace=Namespace("", "vision"), id="vision")
        (listed,) = [one async for one in source.portfolios(project)]
        assert listed.name == "choice"
        found = await source.portfolio(listed)
    assert found.collection.name == "choice"
    assert found.links == (Link(number=0, target=VersionRef(HOME, "data", 3), aliases=("production",)),)
