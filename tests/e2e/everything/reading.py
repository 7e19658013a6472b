"""All that a server has, as the official SDK reads it, in a form in which two servers can be compared.

What no two servers share is told by names: ids that a server made up, and where a project is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.e2e.everything.sdk_world import REPORTED
from tests.e2e.sdk_artifacts import SeenCollection, seen
from tests.e2e.wandb_pair import api_of, name_of
from tests.sandbox.artifact_writer import canonical_digest
from tests.sdk_reader import SdkArtifact, SdkReader, SdkRun
from tests.servers import RunningSandbox

Json = Any

_ARTIFACT = re.compile(r"wandb-(?:client-)?artifact://[0-9a-zA-Z]+(?::latest)?")


@dataclass(frozen=True)
class Place:
    """An entity on a server."""

    server: RunningSandbox
    entity: str

    def runs(self, project: str) -> dict[str, Json]:
        """All runs with rows, files and artifacts, by id."""
        reader, api = SdkReader(self.server.url, self.server.api_key), api_of(self.server)
        path = f"{self.entity}/{project}"
        return {
            run_id: self._told(run) | _besides(api.run(f"{path}/{run_id}"))
            for run_id, run in reader.project(self.entity, project).items()
        }

    def _told(self, run: SdkRun) -> dict[str, Json]:
        # When a run was made and where it came from is told by its provenance, which only copies have.
        config = {key: value for key, value in run.config.items() if key != "_import"}
        artifacts = sorted(map(_elsewhere, run.artifacts), key=lambda artifact: artifact.name)
        told = asdict(replace(run, config=config, created_at="", artifacts=artifacts))
        # As text, in which NaN equals NaN and 1 is not 1.0.
        text = json.dumps(told, sort_keys=True)
        return dict(json.loads(_ARTIFACT.sub(lambda found: self._named(found[0]), text), parse_constant=str))

    def _named(self, uri: str) -> str:
        return f"artifact://{name_of(self.server, uri)}"

    def collections(self, project: str) -> dict[str, SeenCollection]:
        found = seen(api_of(self.server), f"{self.entity}/{project}")
        return {name: _whole(collection) for name, collection in found.items()}

    def links(self, project: str) -> dict[str, Json]:
        """Collections of links, with the versions that they hold."""
        return {
            collection.name: [
                (linked.version, linked.source_name, linked.digest, sorted(linked.aliases))
                for linked in sorted(collection.artifacts(), key=lambda one: int(one.version[1:]))
            ]
            for kind in api_of(self.server).artifact_types(f"{self.entity}/{project}")
            for collection in kind.collections()
            if not collection.is_sequence()
        }

    def reports(self, project: str = REPORTED) -> dict[str, Json]:
        """Reports by title and sweeps by the runs that belong to them, by ``tests.e2e.sdk_reports``."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "read")
            done = subprocess.run(
                [sys.executable, "-m", "tests.e2e.sdk_reports", "read", str(path), self.entity, project],
                env={**os.environ, "WANDB_BASE_URL": self.server.url, "WANDB_API_KEY": self.server.api_key},
                capture_output=True,
                text=True,
                timeout=100,
            )
            assert done.returncode == 0, done.stderr
            return self._placeless(path.read_text(), project)

    def saved_views(self, project: str) -> dict[str, Json]:
        """Specs of the views of workspaces, by title, without where they came from."""
        query = """query ($e: String, $p: String) { project(entityName: $e, name: $p) {
            allViews(viewType: "project-view") { edges { node { displayName spec } } } } }"""
        edges = self.server.graphql(query, e=self.entity, p=project)["project"]["allViews"]["edges"]
        specs = {edge["node"]["displayName"]: json.loads(edge["node"]["spec"]) for edge in edges}
        return {
            title: {key: value for key, value in spec.items() if key != "_import"}
            for title, spec in specs.items()
        }

    def _project_id(self, project: str) -> str:
        query = "query ($e: String!, $p: String!) { project(entityName: $e, name: $p) { internalId } }"
        return str(self.server.graphql(query, e=self.entity, p=project)["project"]["internalId"])

    def _placeless(self, text: str, project: str) -> dict[str, Json]:
        ids = {
            report["url"].rpartition("--")[2]: title for title, report in json.loads(text)["reports"].items()
        }
        for here, name in {
            f"{self.server.url}/{self.entity}/{project}": "http://server/entity/project",
            f"wandb-artifact://{self.entity}/{project}/": "artifact of the project: ",
            f'"entityName": "{self.entity}"': '"entityName": "entity"',
            f'"name": "{project}"': '"name": "project"',
            f'"id": "{self._project_id(project)}"': '"id": "of the project"',
        }.items():
            text = text.replace(here, name)
        text = _ARTIFACT.sub(lambda found: self._named(found[0]), text)
        # Addresses end in the id, and one id may begin like another.
        text = re.sub(r'(?<=--)[0-9A-Za-z_-]+(?=")', lambda found: ids.get(found[0], found[0]), text)
        told: dict[str, Json] = json.loads(text)
        for report in told["reports"].values():
            del report["name"]  # of the record, made up by the server
        # As are the names of sweeps.
        told["sweeps"] = {" ".join(sweep["runs"]): sweep["config"] for sweep in told["sweeps"].values()}
        return told


GROWING = "wandb-run-incremental-table"
"""Versions of this type have the digest of their increment where they were logged, and that of all their
entries where they were copied to."""


def _whole(collection: SeenCollection) -> SeenCollection:
    if collection.type != GROWING:
        return collection
    versions = [
        replace(
            version,
            digest=canonical_digest({path: digest for path, (digest, _, _) in version.entries.items()}),
        )
        for version in collection.versions
    ]
    return replace(collection, versions=tuple(versions))


def _elsewhere(artifact: SdkArtifact) -> SdkArtifact:
    """References to other versions are told by ids here; ``seen`` tells them by names."""
    files = {
        path: "another version" if told.startswith("wandb-artifact://") else told
        for path, told in artifact.files.items()
    }
    return replace(artifact, files=files, digest="" if artifact.type == GROWING else artifact.digest)


def _besides(run: Any) -> dict[str, Json]:
    return {
        "console": [
            [line.number, line.level, line.content, str(line.timestamp)] for line in run.console_logs()
        ],
        "system": run.history(stream="system", samples=10_000, pandas=False),
        "commit": run.commit,
        # Definitions of metrics, custom charts, labels of masks: ``config`` leaves them out.
        "own": run.rawconfig["_wandb"],
    }
