"""Digests, with W&B's own client as the oracle."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import wandb
from hypothesis import given
from hypothesis import strategies as st

from engine.wandb.digests import FileDigest, Hasher, Multipart, artifact_digest, hash_file, md5_b64

TINY_PARTS = Multipart(threshold=10, part=4, most=100)


def test_the_digest_of_an_artifact_is_the_one_that_wandb_computes(tmp_path: Path):
    contents = {"b.txt": b"b", "B.txt": b"", "dir/ünï.bin": bytes(range(256)) * 999, "dir.txt": b"x"}
    artifact = wandb.Artifact("name", "type")
    for path, content in contents.items():
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        artifact.add_file(str(file), name=path)
    artifact.add_reference("urn:somewhere:else", name="ref", checksum=False)
    entries = [(path, md5_b64(content)) for path, content in contents.items()]
    assert artifact_digest([*entries, ("ref", "urn:somewhere:else")]) == artifact.digest


def test_the_digest_of_an_empty_artifact_is_the_one_that_wandb_computes():
    assert artifact_digest([]) == wandb.Artifact("name", "type").digest


@given(st.binary(max_size=100), st.integers(min_value=1, max_value=30))
def test_a_stream_has_the_same_digest_however_it_is_cut(content: bytes, piece: int):
    hasher = Hasher(part_size=4)
    for start in range(0, len(content), piece):
        hasher.update(content[start : start + piece])
    parts = [content[start : start + 4] for start in range(0, len(content), 4)]
    assert hasher.digest() == FileDigest(
        len(content), md5_b64(content), tuple(hashlib.md5(part).hexdigest() for part in parts)
    )


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 12, 3_000_000])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int):
    content = bytes(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    found = hash_file(path, TINY_PARTS if size < 100 else Multipart())
    assert found.size == size
    assert found.md5 == base64.b64encode(hashlib.md5(content).digest()).decode()
    assert len(found.parts) == (-(-size // 4) if 10 <= size < 100 else 0)


@pytest.mark.parametrize(
    ("size", "part"),
    [
        (2**31 - 1, 0),
        (2**31, 100 * 2**20),
        (10_000 * 100 * 2**20 - 1, 100 * 2**20),
        # Beyond 10,000 parts of 100 MiB, parts grow in steps of 4096 bytes.
        (10_000 * 100 * 2**20 + 1, 100 * 2**20 + 4096),
        (5 * 2**40, 549_756_928),
    ],
)
def test_parts_are_sized_as_wandb_sizes_them(size: int, part: int):
    assert Multipart().part_size(size) == part
    assert part == 0 or -(-size // part) <= 10_000


def test_parts_are_hashed_beside_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two threads, and the file is read once."""
    content = os.urandom(3 * 2**20 + 5)
    path = tmp_path / "file"
    path.write_bytes(content)
    threads: set[int] = set()
    md5 = hashlib.md5

    class Watched:
        def __init__(self, *, usedforsecurity: bool) -> None:
            self._md5 = md5(usedforsecurity=usedforsecurity)

        def update(self, data: bytes) -> None:
            threads.add(threading.get_ident())
            self._md5.update(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._md5, name)

    monkeypatch.setattr("engine.wandb.digests.hashlib.md5", Watched)
    found = hash_file(path, Multipart(threshold=2**20, part=2**20))
    assert len(threads) == 2
    assert found.md5 == base64.b64encode(md5(content).digest()).decode()
    assert found.parts == tuple(
        md5(content[n : n + 2**20]).hexdigest() for n in range(0, len(content), 2**20)
    )
