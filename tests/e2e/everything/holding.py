"""What a sandbox holds of an entity, by its database: also what no client is shown, and quickly.

Ids, times and the name of the entity are left out, so that two entities that hold the same are equal.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.e2e.server_state import server_state

_PROJECTS = (
    "SELECT p.name FROM projects p JOIN entities e ON e.number = p.entity WHERE e.name = :entity ORDER BY 1"
)
_PROJECT = "JOIN projects p ON p.number = {}.project JOIN entities e ON e.number = p.entity"
_MEMBER = (
    "JOIN artifact_memberships m ON m.artifact = {} JOIN artifact_collections c ON c.number = m.collection"
)
_TAGS = "SELECT name FROM artifact_tags WHERE owner_type = '{}' AND owner = {}.number ORDER BY 1"

_QUERIES = {
    "collections": "SELECT p.name, c.name, c.kind, t.name, c.description, c.next_index, "
    f"(SELECT group_concat(name) FROM ({_TAGS.format('ArtifactCollection', 'c')})) "
    "FROM artifact_collections c JOIN artifact_types t ON t.number = c.type "
    f"{_PROJECT.format('c')} WHERE e.name = :entity AND c.state = 'READY' ORDER BY 1, 2",
    "facts": "SELECT p.name, c.name, m.version_index, a.ttl_s, a.history_step, "
    f"(SELECT group_concat(name) FROM ({_TAGS.format('Artifact', 'a')})) "
    f"FROM artifacts a {_MEMBER.format('a.number')} {_PROJECT.format('c')} "
    "WHERE e.name = :entity ORDER BY 1, 2, 3",
    "uses": "SELECT p.name, r.name, c.name, m.version_index, i.used_as FROM run_inputs i "
    f"JOIN runs r ON r.number = i.run {_MEMBER.format('i.artifact')} {_PROJECT.format('r')} "
    "WHERE e.name = :entity ORDER BY 1, 2, 3, 4, 5",
    "lines": "SELECT p.name, r.name, l.stream, l.line, l.content FROM lines l "
    f"JOIN runs r ON r.number = l.run {_PROJECT.format('r')} WHERE e.name = :entity ORDER BY 1, 2, 3, 4",
    "sweeps": "SELECT p.name, s.display_name, s.config, s.state, (SELECT group_concat(name) FROM "
    "(SELECT name FROM runs WHERE project = s.project AND sweep = s.name ORDER BY 1)) "
    f"FROM sweeps s {_PROJECT.format('s')} WHERE e.name = :entity ORDER BY 1, 2",
    "views": "SELECT p.name, v.type, v.display_name, v.description, v.spec "
    f"FROM views v {_PROJECT.format('v')} WHERE e.name = :entity ORDER BY 1, 2, 3",
}
_VERSIONS = f"SELECT a.number, c.name, m.version_index FROM artifacts a {_MEMBER.format('a.number')}"
_CLIENT_IDS = f"""
    SELECT client_id, e.name, p.name, c.name FROM client_ids i JOIN artifact_collections c
    ON i.kind <> 'Artifact' AND c.number = i.number {_PROJECT.format("c")}
    UNION SELECT client_id, e.name, p.name, c.name || ':v' || m.version_index FROM client_ids i
    {_MEMBER.format("i.number")} AND i.kind = 'Artifact' {_PROJECT.format("c")} WHERE c.kind = 'SEQUENCE'
"""

_REFERENCE = re.compile(r"wandb-artifact://([0-9a-f]+)")
_BY_CLIENT = re.compile(r"wandb-client-artifact://([0-9a-z]+)")
_ID = re.compile(r"(?<![0-9A-Za-z+/])[0-9A-Za-z+/]{8,}={0,2}")
"""What may be ``Type:number`` in base64; addresses leave out the padding."""


def holding(data_dir: Path, entity: str) -> dict[str, Any]:
    """All records of an entity, by project and kind."""
    with closing(sqlite3.connect(data_dir / "records.sqlite")) as database:
        where = {"entity": entity}
        projects = [name for (name,) in database.execute(_PROJECTS, where)]
        found: dict[str, Any] = {
            kind: database.execute(query, where).fetchall() for kind, query in _QUERIES.items()
        }
        found["views"] = [(*view, _looks(spec)) for *view, spec in found["views"]]
        versions = {number: f"{name}:v{index}" for number, name, index in database.execute(_VERSIONS)}
        spoken = {client_id: "/".join(place) for client_id, *place in database.execute(_CLIENT_IDS)}
    for project in projects:
        state = server_state(data_dir, project, entity)
        # Runs that only kept numbers are deleted, and have names that were drawn by lot.
        for kind in ("runs", "edges"):
            state[kind] = [row for row in state[kind] if not row[0].startswith("placeholder-")]
        found[project] = state
    return _comparable(found, entity, versions, spoken)


def _looks(spec: str) -> Any:
    """A spec without the fingerprint of what was written, which is of ids too."""
    looks = json.loads(spec)
    looks["_import"].pop("written", None)
    return looks


def _comparable(
    found: dict[str, Any], entity: str, versions: dict[int, str], spoken: dict[str, str]
) -> dict[str, Any]:
    def referred(match: re.Match[str]) -> str:
        number = bytes.fromhex(match[1]).decode().partition(":")[2]
        return f"wandb-artifact://{versions[int(number)]}"

    text = _REFERENCE.sub(referred, json.dumps(found, sort_keys=True))
    # Each copy speaks by ids of its own; what they stand for has to be its own, too.
    text = _BY_CLIENT.sub(lambda match: f"artifact://{spoken.get(match[1], 'nothing')}", text)
    text = re.sub(rf"\b{re.escape(entity)}\b", "ENTITY", _ID.sub(_kind, text))
    told: dict[str, Any] = json.loads(text)
    return told


def _kind(match: re.Match[str]) -> str:
    """The type of an id in the place of the id."""
    bare = match[0].rstrip("=")
    try:
        kind, _, number = base64.b64decode(bare + "=" * (-len(bare) % 4)).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return match[0]
    return kind if kind.isalpha() and number.isdigit() else match[0]
