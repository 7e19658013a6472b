"""Merkle roots."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from engine.verify.merkle import EMPTY, Tree, leaf, root_of


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def by_the_book(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha(b"\1" + by_the_book(leaves[:split]) + by_the_book(leaves[split:]))


@given(st.lists(st.text(), min_size=1, max_size=40))
def test_a_root_is_that_of_rfc_6962(texts: list[str]) -> None:
    tree = Tree()
    for text in texts:
        tree.add(leaf(text))
    assert (
        tree.root()
        == by_the_book([sha(b"\0" + text.encode("utf-8", "surrogatepass")) for text in texts]).hex()
    )


def test_a_tree_without_leaves_has_a_root_too() -> None:
    assert Tree().root() == root_of([]) == EMPTY


@given(st.lists(st.text(max_size=3), max_size=10), st.text(max_size=3))
def test_of_a_set_only_its_members_matter(texts: list[str], other: str) -> None:
    assert root_of(texts) == root_of(reversed(texts))
    assert root_of([*texts, other]) != root_of(texts)
