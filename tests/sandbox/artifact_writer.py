"""Writes artifacts request by request, so that tests can do each step wrong."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.servers import RunningSandbox, send

CREATE = """mutation ($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact {
    id state digest versionIndex artifactSequence { id name latestArtifact { id } } } } }"""
MANIFEST = """mutation ($input: CreateArtifactManifestInput!) { createArtifactManifest(input: $input) {
    artifactManifest { id type file { name uploadUrl uploadHeaders } } } }"""
FILES = """mutation ($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
    files { edges { node { name storagePath uploadUrl uploadHeaders artifact { id }
    uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }"""
COMMIT = """mutation ($input: CommitArtifactInput!) { commitArtifact(input: $input) { artifact {
    id state versionIndex fileCount size } } }"""


def md5_b64(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def canonical_digest(digests: Mapping[str, str]) -> str:
    md5 = hashlib.md5(b"wandb-artifact-manifest-v1\n")
    for path in sorted(digests):
        md5.update(f"{path}:{digests[path]}\n".encode())
    return md5.hexdigest()


def manifest_of(contents: Mapping[str, Mapping[str, Any]]) -> bytes:
    return json.dumps(
        {
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": contents,
        }
    ).encode()


@dataclass
class ArtifactWriter:
    sandbox: RunningSandbox
    project: str
    entity: str = "ann"
    key: str | None = None

    def log(self, name: str, files: Mapping[str, bytes], **fields: Any) -> Any:
        """Log files as the SDK does; the answer of the commit, or of the creation if the content is known."""
        digests = {path: md5_b64(data) for path, data in files.items()}
        artifact = self.create(name, canonical_digest(digests), **fields)
        if artifact["state"] == "COMMITTED":
            return artifact
        births = self.upload(artifact["id"], files)
        contents = {
            path: {"digest": digests[path], "size": len(data), "birthArtifactID": births[path]}
            for path, data in files.items()
        }
        self.upload_manifest(artifact["id"], manifest_of(contents))
        return self.commit(artifact["id"])

    def input_for(self, name: str, digest: str, **fields: Any) -> Any:
        return {
            "entityName": self.entity,
            "projectName": self.project,
            "artifactTypeName": "dataset",
            "artifactCollectionName": name,
            "digest": digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "enableDigestDeduplication": True,
            "aliases": [{"alias": "latest", "artifactCollectionName": name}],
            **fields,
        }

    def create(self, name: str, digest: str, **fields: Any) -> Any:
        answer = self._ask(CREATE, self.input_for(name, digest, **fields))
        return answer["createArtifact"]["artifact"]

    def upload(self, artifact: str, files: Mapping[str, bytes]) -> dict[str, str]:
        """PUT what the server wants; the birth artifact of each path."""
        births = {}
        for node, (path, data) in zip(self.file_nodes(artifact, files), files.items(), strict=True):
            births[path] = node["artifact"]["id"]
            if node["uploadUrl"]:
                status, body = send("PUT", node["uploadUrl"], data, headers_of(node))
                assert status == 200, body
        return births

    def file_nodes(self, artifact: str, files: Mapping[str, bytes], **spec: Any) -> Any:
        specs = [
            {"artifactID": artifact, "name": path, "md5": md5_b64(data), **spec}
            for path, data in files.items()
        ]
        answer = self._ask(FILES, {"artifactFiles": specs, "storageLayout": "V2"})
        return [edge["node"] for edge in answer["createArtifactFiles"]["files"]["edges"]]

    def upload_manifest(
        self, artifact: str, data: bytes, *, kind: str = "FULL", base: str | None = None
    ) -> Any:
        manifest = self.create_manifest(artifact, md5_b64(data), kind=kind, base=base)
        file = manifest["file"]
        status, body = send("PUT", file["uploadUrl"], data, headers_of(file))
        assert status == 200, body
        return manifest

    def create_manifest(
        self, artifact: str, digest: str, *, kind: str = "FULL", base: str | None = None
    ) -> Any:
        given = {
            "artifactID": artifact,
            "baseArtifactID": base,
            "digest": digest,
            "entityName": self.entity,
            "projectName": self.project,
            "name": "wandb_manifest.json",
            "runName": "",
            "type": kind,
        }
        return self._ask(MANIFEST, given)["createArtifactManifest"]["artifactManifest"]

    def commit(self, artifact: str) -> Any:
        return self._ask(COMMIT, {"artifactID": artifact})["commitArtifact"]["artifact"]

    def refused(self, query: str, given: Mapping[str, Any]) -> tuple[int, str]:
        """Status and message of a request that fails."""
        status, body = self.sandbox.ask(query, key=self.key, input=given)
        assert status >= 400, body
        return status, body["errors"][0]["message"]

    def commit_refused(self, artifact: str) -> str:
        status, message = self.refused(COMMIT, {"artifactID": artifact})
        assert status == 400
        return message

    def membership(self, name: str) -> Any:
        found = self.sandbox.graphql(
            """query ($e: String, $p: String, $name: String!) { project(entityName: $e, name: $p) {
            artifactCollectionMembership(name: $name) {
            versionIndex aliases { alias } artifact { id digest state } } } }""",
            key=self.key,
            e=self.entity,
            p=self.project,
            name=name,
        )
        return found["project"]["artifactCollectionMembership"]

    def version_of(self, name: str) -> int | None:
        found = self.membership(name)
        return found["versionIndex"] if found else None

    def ask(self, query: str, **given: Any) -> Any:
        return self._ask(query, given)

    def _ask(self, query: str, given: Mapping[str, Any]) -> Any:
        return self.sandbox.graphql(query, key=self.key, input=given)


def headers_of(node: Mapping[str, Any]) -> dict[str, str]:
    return dict(header.split(":", 1) for header in node["uploadHeaders"])
