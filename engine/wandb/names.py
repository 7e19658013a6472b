"""Names that W&B takes, made from names that it does not.

A legal name is never touched. An illegal one becomes a readable slug plus a short hash of the original,
which depends on nothing but the name, so that the same source always lands on the same name and two
different sources never do. Limits: those that the SDK enforces before it sends anything.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Final

from engine.records import Namespace

MAX_NAME = 128
MAX_RUN_TAG = 64
MAX_OLD_ID = 64
"""Characters of a run id on older servers."""

OF_CLIENT: Final = frozenset({"wandb-run-incremental-table"})
"""Types in ``wandb-*`` that W&B's own client makes, and readers of its tables look for
(``sdk/internal/incremental_table_util.py``)."""

_NOT_IN_PROJECT = re.compile(r"[/\\#?%:\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_NOT_IN_RUN_ID = re.compile(r"[:;,#?/'\\%\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_NOT_IN_ARTIFACT = re.compile(r"[^a-zA-Z0-9_\-.]+")
_NOT_IN_TYPE = re.compile(r"[/:\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_ARTIFACT_TAG = re.compile(r"[-\w]+( +[-\w]+)*")
_OUTER = re.compile(r"^[\s.\-]+|[\s.\-]+$")
_VERSION = re.compile(r"v\d+")


def short_hash(text: str, digits: int = 8) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def _slug(name: str, illegal: re.Pattern[str], fallback: str, made: int = MAX_NAME) -> str:
    """``name`` if it is legal, else a slug of at most ``made`` characters that ends in a hash of it."""
    legal = illegal.search(name) is None and name == name.strip() and name.strip(".")
    if legal and len(name) <= MAX_NAME:
        return name
    hashed = short_hash(name)
    readable = _OUTER.sub("", _OUTER.sub("", illegal.sub("-", name))[: made - len(hashed) - 1])
    return f"{readable or fallback}-{hashed}"


def project_name(name: str) -> str:
    """A legal project name: at most 128 characters and none of ``/ \\ # ? % :`` or control characters."""
    return _slug(name, _NOT_IN_PROJECT, "project")


def is_project_name(name: str) -> bool:
    return project_name(name) == name


def project_names(sources: Sequence[Namespace]) -> dict[Namespace, str]:
    """A project of its own for each source project, whatever their order.

    W&B takes names that differ only by case for one another in places, so these count as equal too.
    All members of a group that would collide get a suffix, so that none depends on who came first.
    """
    wanted = {source: project_name(source.project) for source in sources}
    taken = Counter(name.casefold() for name in wanted.values())
    return {
        source: name
        if taken[name.casefold()] == 1
        else _with_hash(name, f"{source.entity}\0{source.project}")
        for source, name in wanted.items()
    }


def _with_hash(name: str, identity: str) -> str:
    hashed = short_hash(identity)
    return f"{name[: MAX_NAME - len(hashed) - 1]}-{hashed}"


def run_id(source_id: str) -> str:
    """A legal run id: at most 128 characters, none of ``: ; , # ? / '`` and no outer spaces."""
    if not source_id:
        raise ValueError("a run needs an id")
    # An id that has to change anyway can as well please older servers.
    return _slug(source_id, _NOT_IN_RUN_ID, "run", made=MAX_OLD_ID)


def suffixed(legal_id: str, number: int) -> str:
    """A run id with a number at its end, as long as a run id may be."""
    suffix = f"-{number}"
    longest = MAX_OLD_ID if len(legal_id) <= MAX_OLD_ID else MAX_NAME
    return legal_id[: longest - len(suffix)] + suffix


def artifact_name(name: str) -> str:
    """A legal collection name: letters, digits, ``_ - .`` and at most 128 characters."""
    return _slug(name, _NOT_IN_ARTIFACT, "artifact")


def portfolio_name(name: str) -> str:
    """A legal name of a collection of links, whose rules are wider: no ``/ :`` and at most 128 characters."""
    return _slug(name, _NOT_IN_TYPE, "portfolio")


def artifact_type(name: str) -> str:
    """A legal artifact type; ``wandb-*`` is reserved for W&B's own types."""
    legal = _slug(name, _NOT_IN_TYPE, "artifact")
    return f"imported-{legal}"[:MAX_NAME] if legal.startswith("wandb-") and legal not in OF_CLIENT else legal


def is_alias(alias: str) -> bool:
    """Whether an alias can be stored; ``v3`` cannot, because it always means the version."""
    return 0 < len(alias) <= MAX_NAME and _NOT_IN_TYPE.search(alias) is None and not _VERSION.fullmatch(alias)


def is_artifact_tag(tag: str) -> bool:
    return len(tag) <= MAX_NAME and _ARTIFACT_TAG.fullmatch(tag) is not None


def is_run_tag(tag: str) -> bool:
    return 0 < len(tag) <= MAX_RUN_TAG


def escaped_keys(keys: Collection[str], reserved: Collection[str], system: str) -> Mapping[str, str]:
    """New names for those ``keys`` that W&B would take for its own, or could not show at all.

    Only empty and ``reserved`` keys are renamed, to ``<system>/<key>``; W&B takes any other text.
    If somebody uses that name already, a hash keeps them apart.
    """
    renamed = {}
    for key in keys:
        if key and key not in reserved:
            continue
        name = f"{system}/{key or 'empty-key'}"
        if name in keys or name in reserved:
            name = f"{name}-{short_hash(key)}"
        renamed[key] = name
    return renamed


def downloadable_path(path: str) -> str:
    """``path``, or how to write it so that W&B's client will download it.

    On every platform, the client refuses what Windows would read as a drive or a way out of the directory,
    and with it the whole artifact (``wandb/sdk/lib/paths.py``).
    """
    on_windows = PureWindowsPath(path)
    if not on_windows.anchor and ".." not in on_windows.parts:
        return path
    return path.replace(":", "%3A").replace("\\", "%5C")


def is_safe_path(path: str) -> bool:
    """Whether a logical path stays inside of its container and names a file in it."""
    parts = path.split("/")
    return bool(path) and not any(part in ("", ".", "..") for part in parts) and "\0" not in path
