"""How people name things: paths as the SDK takes them, and addresses that were copied from a browser.

entity/project/run_id       project/run_id       run_id          with defaults for what is left out
https://wandb.ai/entity/project/runs/run_id/overview?nw=…
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from engine.errors import ConfigError
from engine.records import Namespace


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is meant by a path that leaves it out, and whose pages may be named."""

    base_url: str
    entity: str | None
    project: str | None


@dataclass(frozen=True, slots=True)
class Address:
    """Something in a project: a run by its id, a sweep by its id."""

    namespace: Namespace
    id: str


def project_of(path: str, defaults: Defaults) -> Namespace:
    """``entity/project``, ``project``, nothing, or the address of any page of a project.

    Raises:
        ConfigError: it names no project.
    """
    parts = _parts(path, defaults)
    if not _is_url(path) and len(parts) > 2:
        raise _not(path, "a project", "entity/project")
    return _namespace(parts[:2], defaults, path)


def thing_of(path: str, defaults: Defaults, what: str = "run") -> Address:
    """``entity/project/id``, ``project/id``, ``id``, or the address of a page of it.

    ``entity/project:id`` is an old spelling, which the SDK still takes.

    Raises:
        ConfigError: it names none.
    """
    parts = _parts(path, defaults)
    if len(parts) > 3 and parts[2] == f"{what}s":
        parts = [*parts[:2], parts[3]]
    elif _is_url(path):
        raise _not(path, f"a {what}", f"https://HOST/entity/project/{what}s/{what}_id")
    if not 1 <= len(parts) <= 3:
        raise _not(path, f"a {what}", f"entity/project/{what}_id")
    if len(parts) < 3 and ":" in parts[-1]:
        parts = [*parts[:-1], *parts[-1].split(":", 1)]
    return Address(_namespace(parts[:-1], defaults, path), parts[-1])


def artifact_of(path: str, defaults: Defaults) -> tuple[Namespace, str]:
    """A project and ``collection:alias``; without an alias the latest is meant. Addresses of pages, too.

    Raises:
        ConfigError: it names none.
    """
    parts = _parts(path, defaults)
    if _is_url(path):
        # …/artifacts/TYPE/COLLECTION/VERSION
        if len(parts) < 5 or parts[2] != "artifacts":
            raise _not(path, "an artifact", "entity/project/collection:alias")
        return Namespace(parts[0], parts[1]), f"{parts[4]}:{parts[5] if len(parts) > 5 else 'latest'}"
    if not 1 <= len(parts) <= 3:
        raise _not(path, "an artifact", "entity/project/collection:alias")
    collection, _, alias = parts[-1].partition(":")
    return _namespace(parts[:-1], defaults, path), f"{collection}:{alias or 'latest'}"


def _namespace(parts: list[str], defaults: Defaults, path: str) -> Namespace:
    entity = parts[0] if len(parts) == 2 else defaults.entity
    project = parts[-1] if parts else defaults.project
    if not project:
        raise _not(path, "a project", "entity/project, or set WANDB_PROJECT")
    if not entity:
        raise _not(path, "an entity", "entity/project, or set WANDB_ENTITY")
    return Namespace(entity, project)


def _is_url(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _parts(path: str, defaults: Defaults) -> list[str]:
    if not isinstance(path, str):
        raise ConfigError(f"a path is a text, not {path!r}", remedy="write entity/project/run_id")
    path = path.strip()
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{path!r} is no text in UTF-8", exc=error) from error
    if not _is_url(path):
        parts = path.strip("/").split("/") if path.strip("/") else []
        if "" in parts:
            raise ConfigError(f"{path!r} has an empty part", remedy="write entity/project/run_id")
        return parts
    split, own = urlsplit(path), urlsplit(defaults.base_url)
    if _site(split.netloc) != _site(own.netloc):
        raise ConfigError(
            f"{split.netloc} is not the server that is asked, which is {own.netloc}",
            subject=path,
            remedy="open another Api with its base_url",
        )
    return [unquote(part) for part in split.path.split("/") if part]


def _site(host: str) -> str:
    """Programs and people reach one service by different names."""
    for prefix in ("api.", "app.", "www."):
        host = host.removeprefix(prefix)
    return host


def _not(path: str, what: str, example: str) -> ConfigError:
    return ConfigError(f"{path!r} does not name {what}", remedy=f"write {example}")
