"""A project of one W&B server and what became of it on another: with lineage, a sweep, reports and logs.

Written request by request, as it has to be small: what the official SDK writes is compared elsewhere.
"""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.planting import Spoiler
from tests.sandbox.artifact_writer import ArtifactWriter
from tests.servers import RunningSandbox

PROJECT = "copied"

_RUN = "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } } }"
_DELETE = "mutation ($input: DeleteRunInput!) { deleteRun(input: $input) { clientMutationId } }"
_USE = "mutation ($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }"
_LINK = "mutation ($input: LinkArtifactInput!) { linkArtifact(input: $input) { versionIndex } }"
_SWEEP = "mutation ($input: UpsertSweepInput!) { upsertSweep(input: $input) { sweep { id name } } }"
_VIEW = "mutation ($input: UpsertViewInput!) { upsertView(input: $input) { view { id } } }"
_VERSION = "mutation ($input: UpdateArtifactInput!) { updateArtifact(input: $input) { artifact { id } } }"


class Writer:
    """Fills a server, in one project."""

    def __init__(self, server: RunningSandbox, entity: str) -> None:
        self._server = server
        self._entity = entity
        self.artifacts = ArtifactWriter(server, PROJECT, entity)

    def _ask(self, document: str, **given: Any) -> Any:
        return self._server.graphql(document, input=given)

    def run(self, name: str, **fields: Any) -> str:
        """Its id at the server."""
        made = self._ask(_RUN, entityName=self._entity, modelName=PROJECT, name=name, **fields)
        return str(made["upsertBucket"]["bucket"]["id"])

    def stream(self, run: str, **files: list[str]) -> None:
        """Lines of files, by their names with ``_`` for ``.``, and the end of the run."""
        chunks = {
            f"{name.replace('_', '.')}": {"offset": 0, "content": lines} for name, lines in files.items()
        }
        path = f"/files/{self._entity}/{PROJECT}/{run}/file_stream"
        status, body = self._server.call("POST", path, {"files": chunks, "complete": True, "exitcode": 0})
        assert status == 200, body

    def sweep(self, name: str) -> str:
        config = "method: grid\nparameters: {lr: {values: [1, 2]}}\n"
        made = self._ask(
            _SWEEP,
            entityName=self._entity,
            projectName=PROJECT,
            config=config,
            displayName=name,
            description="a search",
        )
        return str(made["upsertSweep"]["sweep"]["name"])

    def report(self, title: str, *blocks: Any) -> str:
        made = self._ask(
            _VIEW,
            entityName=self._entity,
            projectName=PROJECT,
            type="runs",
            name=title.lower(),
            displayName=title,
            description=f"about {title}",
            spec=json.dumps({"version": 5, "blocks": list(blocks), "width": "readable"}),
            createdUsing="WANDB_SDK",
        )
        return str(made["upsertView"]["view"]["id"])

    def use(self, run: str, version: str, name: str | None = None) -> None:
        self._ask(
            _USE,
            artifactID=self.artifacts.membership(version)["artifact"]["id"],
            entityName=self._entity,
            projectName=PROJECT,
            runName=run,
            usedAs=name,
        )

    def fill(self) -> None:
        sweep = self.sweep("a search")
        self.run("maker", sweep=sweep)
        self.run("reader")
        gone = self.run("gone")
        self.stream(
            "maker",
            **{
                "wandb-history_jsonl": [json.dumps({"_step": 0, "_timestamp": 1_700_000_000.0, "loss": 1.0})],
                "wandb-events_jsonl": [
                    json.dumps({"_timestamp": 1_700_000_000.0 + n, "_runtime": n, "system.cpu": n / 4})
                    for n in range(3)
                ],
                "output_log": [f"2023-11-14T22:13:2{n}.000000 line {n}" for n in range(3)],
            },
        )
        self.stream("reader")
        self.stream("gone")
        self.artifacts.log("ds", {"a.txt": b"first", "b.txt": b"same"}, runName="maker")
        self.artifacts.log("ds", {"a.txt": b"second", "b.txt": b"same"}, runName="maker", historyStep=1)
        self.artifacts.log("orphan", {"o.txt": b"of a run that is gone"}, runName="gone")
        second = self.artifacts.membership("ds:v1")["artifact"]["id"]
        self._ask(_VERSION, artifactID=second, ttlDurationSeconds=3_600, tagsToAdd=[{"tagName": "curated"}])
        self.use("reader", "ds:v0", "the data")
        self._ask(
            _LINK,
            artifactPortfolioName="picked",
            entityName=self._entity,
            projectName=PROJECT,
            artifactID=second,
            aliases=[{"artifactCollectionName": "picked", "alias": "best"}],
        )
        self._ask(_DELETE, id=gone, deleteArtifacts=False)
        plain = self.report("Appendix", {"type": "paragraph", "children": [{"text": "more"}]})
        link = f"{self._server.url}/{self._entity}/{PROJECT}/reports/Appendix--{plain.rstrip('=')}"
        self.report(
            "Findings",
            {"type": "heading", "level": 1, "children": [{"text": "What we found"}]},
            {"type": "paragraph", "children": [{"text": "see "}, {"type": "link", "url": link}]},
        )


def version_of(spoiler: Spoiler, collection: str, number: int) -> int:
    """The number under which a server keeps an artifact version."""
    return int(
        spoiler.value(
            "SELECT m.artifact FROM artifact_memberships m JOIN artifact_collections c "
            "ON c.number = m.collection WHERE c.name = ? AND m.version_index = ?",
            collection,
            number,
        )
    )
