"""What a sandbox holds of a project, from its database: also what no client would be shown.

Times, numbers of rows and random names are left out, so that two places that hold the same are equal.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

_QUERIES = {
    "runs": "SELECT name, display_name, notes, run_group, job_type, state, exit_code, tags, config, summary, "
    "deleted FROM runs WHERE project = :project ORDER BY name",
    "rows": "SELECT r.name, h.line, h.row FROM history h JOIN runs r ON r.number = h.run "
    "WHERE r.project = :project ORDER BY r.name, h.line",
    "keys": "SELECT r.name, k.key, k.type, k.count FROM history_keys k JOIN runs r ON r.number = k.run "
    "WHERE r.project = :project AND k.count ORDER BY r.name, k.key, k.type",
    "files": "SELECT r.name, f.name FROM run_files f JOIN runs r ON r.number = f.run "
    "WHERE r.project = :project ORDER BY r.name, f.name",
    "versions": "SELECT c.name, m.version_index, a.digest, a.state, a.description, a.metadata, a.size, "
    "a.file_count, (SELECT group_concat(alias, ' ') FROM (SELECT alias FROM artifact_aliases l "
    "WHERE l.membership = m.number ORDER BY alias)) FROM artifact_memberships m "
    "JOIN artifacts a ON a.number = m.artifact JOIN artifact_collections c ON c.number = m.collection "
    "WHERE c.project = :project ORDER BY c.name, m.version_index",
    "entries": "SELECT c.name, m.version_index, e.path, e.digest, e.size, e.ref FROM artifact_entries e "
    "JOIN artifact_memberships m ON m.artifact = e.artifact "
    "JOIN artifact_collections c ON c.number = m.collection "
    "WHERE c.project = :project ORDER BY c.name, m.version_index, e.path",
    "edges": "SELECT r.name, c.name, m.version_index FROM run_outputs o JOIN runs r ON r.number = o.run "
    "JOIN artifact_memberships m ON m.artifact = o.artifact "
    "JOIN artifact_collections c ON c.number = m.collection "
    "WHERE r.project = :project ORDER BY r.name, c.name, m.version_index",
}


_PROJECT = (
    "SELECT p.number FROM projects p JOIN entities e ON e.number = p.entity "
    "WHERE p.name = :project AND :entity IN ('', e.name)"
)


def server_state(data_dir: Path, project: str, entity: str = "") -> dict[str, list[tuple[Any, ...]]]:
    """All records of a project, by kind; of the only one that has this name if no entity is told."""
    with closing(sqlite3.connect(data_dir / "records.sqlite")) as database:
        ((number,),) = database.execute(_PROJECT, {"project": project, "entity": entity})
        state = {
            kind: database.execute(query, {"project": number}).fetchall() for kind, query in _QUERIES.items()
        }
    return {kind: [tuple(map(_settled, row)) for row in rows] for kind, rows in state.items()}


def _settled(value: Any) -> Any:
    """JSON text as what it says: the order of keys is nobody's business."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.dumps(json.loads(value), sort_keys=True)
    return value
