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
            run_id: self._told(run) | _logs(api.run(f"{path}/{run_id}"))
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
        return seen(api_of(self.server), f"{self.entity}/{project}")

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


def _elsewhere(artifact: SdkArtifact) -> SdkArtifact:
    """References to other versions are told by ids here; ``seen`` tells them by names."""
    files = {
        path: "another version" if told.startswith("wandb-artifact://") else told
        for path, told in artifact.files.items()
    }
    return replace(artifact, files=files)


def _logs(run: Any) -> dict[str, Json]:
    return {
        "console": [
            [line.number, line.level, line.content, str(line.timestamp)] for line in run.console_logs()
        ],
        "system": run.history(stream="system", samples=10_000, pandas=False),
        "commit": run.commit,
    }
