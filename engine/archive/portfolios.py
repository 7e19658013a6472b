"""Portfolios in an archive: collections of links to versions that other collections own.

One may be where no project of the archive is, as those of registries are: the versions tell of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.archive.codec import plain, record_of
from engine.archive.keeping import DAMAGE, read_record, write_record
from engine.archive.layout import PORTFOLIO, Layout, disk_errors
from engine.errors import NotFound, Side
from engine.records import Collection, Json, Link, Portfolio, Receipt, Registry

REGISTRY: Final = "registry"


def _path(layout: Layout, portfolio: Collection) -> Path:
    return layout.thing(portfolio.namespace, PORTFOLIO, portfolio.name)


def _read(layout: Layout, portfolio: Collection) -> tuple[dict[str, Json], dict[int, Link]]:
    """The record of a portfolio, and its links by their numbers; empty if there is none."""
    path = _path(layout, portfolio)
    record = read_record(layout, path, PORTFOLIO, {"name": portfolio.name})
    try:
        links = [record_of(Link, each) for each in record.get("links", ())]
    except DAMAGE as error:
        raise layout.damaged(path, error) from error
    return record, {link.number: link for link in links}


def keep_portfolio(layout: Layout, portfolio: Portfolio) -> Receipt:
    """Keep what is said of a portfolio now, and links that it had before; to be called in a thread."""
    path = _path(layout, portfolio.collection)
    with disk_errors(Side.DESTINATION, str(path)):
        before, links = _read(layout, portfolio.collection)
        # An alias is on one link of a portfolio.
        taken = {alias for link in portfolio.links for alias in link.aliases}
        for number, link in links.items():
            links[number] = replace(link, aliases=tuple(each for each in link.aliases if each not in taken))
        links |= {link.number: link for link in portfolio.links}
        told: Mapping[str, Json] = {
            PORTFOLIO: plain(portfolio.collection),
            "links": [plain(links[number]) for number in sorted(links)],
        }
        if portfolio.registry is not None:
            told = {**told, REGISTRY: plain(portfolio.registry)}
        return Receipt(items=1, skipped=not write_record(layout, path, before, told))


def kept_portfolio(layout: Layout, portfolio: Collection) -> Portfolio:
    """A portfolio with its links in their order; to be called in a thread.

    Raises:
        NotFound: there is none of this name.
        IntegrityError: its record is damaged.
    """
    record, links = _read(layout, portfolio)
    if not record:
        raise NotFound("it is not in the archive", side=layout.side, subject=f"portfolio {portfolio}")
    try:
        collection = record_of(Collection, record[PORTFOLIO])
        registry = record_of(Registry, record[REGISTRY]) if REGISTRY in record else None
    except DAMAGE as error:
        raise layout.damaged(_path(layout, portfolio), error) from error
    return Portfolio(
        collection=replace(collection, namespace=portfolio.namespace),
        links=tuple(links[number] for number in sorted(links)),
        registry=registry,
    )
