"""How one artifact version refers to a file of another, on a server and between servers.

A manifest says ``wandb-artifact://<id>/<path>``, where the id is that of the version on its server, in hex
(``wandb/sdk/artifacts/storage_handlers/wb_artifact_handler.py`` of the SDK). Such an id means nothing
elsewhere, so that whoever reads tells ``wandb-artifact://<entity>/<project>/<collection>:v<number>/<path>``
instead, and whoever writes makes an id of its own server of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, unquote

from engine.records import Json, Namespace

SCHEME: Final = "wandb-artifact://"
CLIENT: Final = "wandb-client-artifact://"
"""Before an id that a client made up; see ``engine.wandb.reading.client_ids``."""

_BY_ID: Final = re.compile(r"wandb-artifact://(?P<id>[0-9a-fA-F]+)/(?P<path>.*)", re.DOTALL)
_ID_IN_TEXT: Final = re.compile(r"wandb-artifact://[0-9a-fA-F]{16,}(?![0-9a-zA-Z])")
_CLIENT_ID_IN_TEXT: Final = re.compile(r"(?<=wandb-client-artifact://)[0-9a-zA-Z]+")
_VERSION_CLIENT_ID_IN_TEXT: Final = re.compile(r"(?<=wandb-client-artifact://)[0-9a-zA-Z]+(?=/)")
_NESTED: Final = frozenset({dict, list})
_NAME_IN_TEXT: Final = re.compile(r"(wandb-artifact://[^/\s]+/[^/\s]+/)([^/:\s]+):([^/\s]+)")
_BY_NAME: Final = re.compile(
    r"wandb-artifact://(?P<entity>[^/]+)/(?P<project>[^/]+)/(?P<name>[^/:]+):v(?P<number>\d+)/(?P<path>.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A file of a version, wherever that is."""

    namespace: Namespace
    name: str
    number: int
    path: str

    @classmethod
    def of(cls, ref: str) -> Self | None:
        """None for any other URI."""
        if (match := _BY_NAME.fullmatch(ref)) is None:
            return None
        home = Namespace(unquote(match["entity"]), unquote(match["project"]))
        return cls(home, unquote(match["name"]), int(match["number"]), match["path"])

    @property
    def version(self) -> str:
        """As the server names it within its project."""
        return f"{self.name}:v{self.number}"

    def __str__(self) -> str:
        home = (self.namespace.entity, self.namespace.project, self.name)
        return f"{SCHEME}{'/'.join(quote(part, safe='') for part in home)}:v{self.number}/{self.path}"


def ids_in(text: str) -> list[str]:
    """The URIs, without their paths, by which a text names versions by the ids of its server."""
    return _ID_IN_TEXT.findall(text)


def client_ids_in(text: str) -> list[str]:
    """The ids that clients made up by which a text names versions or collections, each once."""
    return sorted({*_CLIENT_ID_IN_TEXT.findall(text)})


def version_client_ids_in(text: str) -> list[str]:
    """Those of them that name versions, and not the latest one of a collection."""
    return sorted({*_VERSION_CLIENT_ID_IN_TEXT.findall(text)})


def with_client_ids(text: str, new: Callable[[str], str]) -> str:
    """A text with other ids in the place of those that clients made up."""
    return _CLIENT_ID_IN_TEXT.sub(lambda match: new(match[0]), text)


def edited(value: Json, edit: Callable[[str], str]) -> Json:
    """A value with all texts in it edited, at any depth, that speak of artifacts."""
    if isinstance(value, str):
        return edit(value) if "artifact://" in value else value
    if isinstance(value, dict):
        return {key: edited(item, edit) for key, item in value.items()}
    if isinstance(value, list):
        return [edited(item, edit) for item in value]
    return value


def edited_row(row: Mapping[str, Json], edit: Callable[[str], str]) -> Mapping[str, Json]:
    """A row of a history, as ``edited``."""
    # Only media speak of artifacts, and most rows have none.
    if _NESTED.isdisjoint(map(type, row.values())):
        return row
    return {key: edited(value, edit) for key, value in row.items()}


def by_id(ref: str) -> tuple[str, str] | None:
    """The id of a version as its server tells it, and the path in it; None for any other URI."""
    match = _BY_ID.fullmatch(ref)
    if match is None or len(match["id"]) % 2:
        return None
    return base64.b64encode(bytes.fromhex(match["id"])).decode(), match["path"]


def of_id(version_id: str, path: str) -> str:
    """The URI of a file in a version of this id.

    Raises:
        ValueError: the id is not in base64.
    """
    try:
        return f"{SCHEME}{base64.b64decode(version_id, validate=True).hex()}/{path}"
    except binascii.Error as error:
        raise ValueError(f"{version_id!r} is no id of an artifact") from error


def renamed(text: str, name: Callable[[str], str], alias: Callable[[str], str]) -> str:
    """A text in which references by name go by new names of collections and of aliases."""

    def told(match: re.Match[str]) -> str:
        old = unquote(match[2])
        kept = match[2] if (new := name(old)) == old else quote(new, safe="")
        return f"{match[1]}{kept}:{alias(match[3])}"

    return _NAME_IN_TEXT.sub(told, text) if SCHEME in text else text
