"""The GraphQL operations that are sent, each selecting only what is read.

Source: ``core/api/graphql/*.graphql`` and ``wandb/sdk/artifacts/_generated/operations.py`` of the SDK.
"""

from __future__ import annotations

from typing import Final

CONNECT: Final = """
query Connect {
  viewer { id entity username teams { edges { node { name } } } }
  serverInfo { features { name isEnabled } }
}
"""

VIEWER: Final = """
query Viewer {
  viewer { id entity username teams { edges { node { name } } } }
}
"""

ENTITY: Final = """
query Entity($name: String!) {
  entity(name: $name) { id name readOnly }
}
"""

PROJECT: Final = """
query Project($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { id name readOnly }
}
"""

UPSERT_PROJECT: Final = """
mutation UpsertModel($entity: String!, $project: String!, $description: String) {
  upsertModel(input: { entityName: $entity, name: $project, description: $description }) {
    project { id name entityName }
    inserted
  }
}
"""

UPSERT_RUN: Final = """
mutation UpsertBucket(
  $name: String, $project: String, $entity: String, $groupName: String, $displayName: String, $notes: String,
  $commit: String, $config: JSONString, $host: String, $program: String, $repo: String, $jobType: String,
  $state: String, $tags: [String!], $summaryMetrics: JSONString
) {
  upsertBucket(input: {
    name: $name, modelName: $project, entityName: $entity, groupName: $groupName, displayName: $displayName,
    notes: $notes, commit: $commit, config: $config, host: $host, jobProgram: $program, jobRepo: $repo,
    jobType: $jobType, state: $state, tags: $tags, summaryMetrics: $summaryMetrics
  }) {
    bucket { id name displayName historyLineCount project { name entity { name } } }
    inserted
  }
}
"""

UPDATE_RUN_STATE: Final = """
mutation UpdateRunState($id: ID!, $state: String!) {
  updateRunState(input: { id: $id, state: $state }) { success }
}
"""

RUN_ORIGINS: Final = """
query RunOrigins($entity: String!, $project: String!, $filters: JSONString, $first: Int) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: $first) { edges { node { name config(keys: ["_import"]) } } }
  }
}
"""

CREATE_RUN_FILES: Final = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: { entityName: $entity, projectName: $project, runName: $run, files: $files }) {
    uploadHeaders
    files { name uploadUrl }
  }
}
"""

CREATE_ARTIFACT: Final = """
mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) {
    artifact { id state artifactSequence { id latestArtifact { id versionIndex } } }
  }
}
"""

CREATE_MANIFEST: Final = """
mutation CreateArtifactManifest(
  $artifactID: ID!, $baseArtifactID: ID, $digest: String!, $entity: String!, $project: String!, $run: String!,
  $includeUpload: Boolean!
) {
  createArtifactManifest(input: {
    artifactID: $artifactID, baseArtifactID: $baseArtifactID, name: "wandb_manifest.json", digest: $digest,
    entityName: $entity, projectName: $project, runName: $run, type: FULL
  }) {
    artifactManifest { id file @include(if: $includeUpload) { id uploadUrl uploadHeaders } }
  }
}
"""

CREATE_ARTIFACT_FILES: Final = """
mutation CreateArtifactFiles($files: [CreateArtifactFileSpecInput!]!, $layout: ArtifactStorageLayout!) {
  createArtifactFiles(input: { artifactFiles: $files, storageLayout: $layout }) {
    files {
      edges {
        node {
          storagePath uploadUrl uploadHeaders artifact { id }
          uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } }
        }
      }
    }
  }
}
"""

COMPLETE_MULTIPART: Final = """
mutation CompleteMultipartUpload(
  $artifactID: ID!, $storagePath: String!, $uploadID: String!, $parts: [UploadPartsInput!]!
) {
  completeMultipartUploadArtifact(input: {
    completeMultipartAction: Complete, completedParts: $parts, artifactID: $artifactID,
    storagePath: $storagePath, uploadID: $uploadID
  }) { digest }
}
"""

COMMIT_ARTIFACT: Final = """
mutation CommitArtifact($artifactID: ID!) {
  commitArtifact(input: { artifactID: $artifactID }) { artifact { id digest } }
}
"""
