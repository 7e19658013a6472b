"""Pages of a list neither lose nor repeat a row, in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox.graph.connections import connection
from engine.sandbox.refusals import Refusal

VALUES = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.booleans())
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=20).map(
    lambda rows: [(*row, i) for i, row in enumerate(rows)]
)
DIRECTIONS = st.one_of(st.booleans(), st.tuples(st.booleans(), st.booleans(), st.booleans()))


@given(rows=ROWS, descending=DIRECTIONS, size=st.integers(1, 7))
def test_forward_pages_join_to_the_whole(rows: list[Any], descending: Any, size: int) -> None:
    whole = connection(rows, lambda row: row, descending=descending)
    assert whole["totalCount"] == len(rows)
    found: list[Any] = []
    cursor, more = None, True
    while more:
        page = connection(rows, lambda row: row, descending=descending, first=size, after=cursor)
        found += [edge["node"] for edge in page["edges"]]
        cursor, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == [edge["node"] for edge in whole["edges"]]


@given(rows=ROWS, size=st.integers(1, 7))
def test_backward_pages_join_to_the_whole(rows: list[Any], size: int) -> None:
    found: list[Any] = []
    cursor, more = None, True
    while more:
        page = connection(rows, lambda row: row, last=size, before=cursor)
        found = [edge["node"] for edge in page["edges"]] + found
        cursor, more = page["pageInfo"]["startCursor"], page["pageInfo"]["hasPreviousPage"]
    assert found == [edge["node"] for edge in connection(rows, lambda row: row)["edges"]]


def test_a_page_goes_on_after_a_row_that_is_gone() -> None:
    rows = [1, 2, 3, 4]
    first = connection(rows, lambda row: [row], first=2)
    rest = connection([1, 3, 4], lambda row: [row], after=first["pageInfo"]["endCursor"])
    assert [edge["node"] for edge in rest["edges"]] == [3, 4]


@pytest.mark.parametrize("cursor", ["?", "bm8", "MQ==", "WzEsMl0="])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Refusal):
        connection([1, 2], lambda row: [row], after=cursor)
