"""Putting downloads on the disk: whole and as they should be, or not at all."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio
import anyio.to_thread

from engine.errors import CommError, Conflict, IntegrityError
from engine.wandb.digests import READ_SIZE, b64
from engine.wandb.names import is_safe_path


def place(root: Path, name: str) -> Path:
    """Where a file of this name belongs.

    Raises:
        CommError: the name leads out of ``root``.
    """
    if not is_safe_path(name) or ((target := root / name).is_absolute() and not target.is_relative_to(root)):
        raise CommError("its name leads out of the directory; it was not written", subject=f"file {name!r}")
    return root / name


async def save(
    pieces: AsyncGenerator[bytes], target: Path, *, size: int | None, md5: str | None, subject: str
) -> Path:
    """Write ``target`` anew; it appears once it is whole and its digest is right.

    Raises:
        IntegrityError: what came has another size or MD5.
    """
    await anyio.Path(target.parent).mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    digest = hashlib.md5(usedforsecurity=False)
    length = 0
    try:
        async with aclosing(pieces), await anyio.open_file(partial, "wb") as file:
            async for piece in pieces:
                digest.update(piece)
                length += len(piece)
                await file.write(piece)
        if size is not None and length != size:
            raise IntegrityError(f"{length} bytes came and {size} were announced", subject=subject)
        if md5 is not None and b64(digest.digest()) != md5:
            raise IntegrityError("its bytes do not agree with its MD5", subject=subject)
        await anyio.Path(partial).replace(target)
    finally:
        await anyio.Path(partial).unlink(missing_ok=True)
    return target


async def is_there(target: Path, size: int | None, md5: str | None) -> bool:
    """Whether a file of this size and MD5 is there already."""
    return await anyio.to_thread.run_sync(_is_there, target, size, md5)


def _is_there(target: Path, size: int | None, md5: str | None) -> bool:
    if not target.is_file() or (size is not None and target.stat().st_size != size):
        return False
    if md5 is None:
        return size is not None
    digest = hashlib.md5(usedforsecurity=False)
    with target.open("rb") as file:
        while piece := file.read(READ_SIZE):
            digest.update(piece)
    return b64(digest.digest()) == md5


def taken(target: Path) -> Conflict:
    """Something else is where a download should go."""
    return Conflict(
        "there is another file already",
        subject=str(target),
        remedy="say replace=True to write over it, or give another root",
    )
