"""The GraphQL queries of the reading side, each selecting only what is read.

Source: ``wandb/apis/public`` of the SDK and ``core/api/graphql`` of its core. Nothing here mutates.
"""

from __future__ import annotations

from typing import Final

from engine.wandb.documents import runs_document

_PROJECT_FIELDS: Final = "id name entityName description createdAt access"

PROJECTS: Final = f"""
query Projects($entity: String!, $cursor: String, $perPage: Int!) {{
  models(entityName: $entity, after: $cursor, first: $perPage) {{
    edges {{ cursor node {{ {_PROJECT_FIELDS} }} }}
    pageInfo {{ endCursor hasNextPage }}
  }}
}}
"""

PROJECT: Final = f"""
query ProjectToRead($entity: String!, $project: String!) {{
  project(name: $project, entityName: $entity) {{ {_PROJECT_FIELDS} }}
}}
"""

# What a page holds of a run is all that is ever asked of it besides its streams, files and artifacts; the
# counts tell which of those need not be asked at all.
_RUN_FIELDS: Final = """
  id name displayName state exitcode createdAt heartbeatAt updatedAt
  config summaryMetrics tags notes description group jobType sweepName host commit
  historyLineCount eventsLineCount logLineCount fileCount
  runInfo { program git { commit remote } }
  user { username }
  outputArtifacts(first: 1) { totalCount }
"""

RUNS: Final = runs_document("RunsToRead", _RUN_FIELDS)

RUN_NAMES: Final = runs_document("RunNames", "name")

RUN: Final = f"""
query RunToRead($entity: String!, $project: String!, $run: String!) {{
  project(name: $project, entityName: $entity) {{
    id name entityName
    run(name: $run) {{ {_RUN_FIELDS} }}
  }}
}}
"""

_OF_RUN: Final = "project(name: $project, entityName: $entity) { run(name: $run) {"

HISTORY_EXPORTS: Final = f"""
query HistoryExports($entity: String!, $project: String!, $run: String!) {{
  {_OF_RUN}
    historyLineCount historyKeys
    parquetHistory(liveKeys: ["_step"]) {{ parquetUrls liveData }}
  }} }}
}}
"""

HISTORY_EXTENT: Final = f"""
query HistoryExtent($entity: String!, $project: String!, $run: String!) {{
  {_OF_RUN} historyLineCount historyKeys }} }}
}}
"""

HISTORY_ROWS: Final = f"""
query HistoryRows(
  $entity: String!, $project: String!, $run: String!, $minStep: Int64, $maxStep: Int64, $samples: Int!
) {{
  {_OF_RUN} historyLineCount history(minStep: $minStep, maxStep: $maxStep, samples: $samples) }} }}
}}
"""

EVENTS: Final = f"""
query SystemMetrics($entity: String!, $project: String!, $run: String!, $samples: Int!) {{
  {_OF_RUN} eventsLineCount events(samples: $samples) }} }}
}}
"""

CONSOLE: Final = f"""
query ConsoleLines(
  $entity: String!, $project: String!, $run: String!, $cursor: String, $perPage: Int!
) {{
  {_OF_RUN}
    logLines(first: $perPage, after: $cursor, useImprovedPagination: true) {{
      edges {{ cursor node {{ number timestamp level label line }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }} }}
}}
"""

_FILE_FIELDS: Final = "name directUrl sizeBytes md5"

FILES: Final = f"""
query FilesOfRun(
  $entity: String!, $project: String!, $run: String!, $cursor: String, $perPage: Int!, $names: [String]
) {{
  {_OF_RUN}
    files(names: $names, after: $cursor, first: $perPage) {{
      edges {{ cursor node {{ {_FILE_FIELDS} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }} }}
}}
"""

OUTPUT_ARTIFACTS: Final = f"""
query ArtifactsOfRun(
  $entity: String!, $project: String!, $run: String!, $cursor: String, $perPage: Int!, $withTags: Boolean!
) {{
  {_OF_RUN}
    outputArtifacts(after: $cursor, first: $perPage) {{
      edges {{
        cursor
        node {{
          id versionIndex state digest description metadata createdAt
          ttlDurationSeconds ttlIsInherited
          tags @include(if: $withTags) {{ name }}
          aliases {{ alias artifactCollectionName artifactCollection {{ __typename id }} }}
          artifactType {{ name }}
          artifactSequence {{ id name project {{ name entityName }} }}
        }}
      }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }} }}
}}
"""

# The first page of files comes with the manifest: a version of few files then costs two requests.
MANIFEST: Final = """
query ManifestToRead($id: ID!, $perPage: Int!) {
  artifact(id: $id) {
    currentManifest { digest file { directUrl } }
    files(first: $perPage) {
      edges { cursor node { name directUrl sizeBytes } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

MANIFEST_URL = """
query ManifestUrlToRead($id: ID!) {
  artifact(id: $id) { currentManifest { file { directUrl } } }
}
"""

ARTIFACT_FILES: Final = """
query FilesOfArtifact($id: ID!, $cursor: String, $perPage: Int!, $names: [String!]) {
  artifact(id: $id) {
    files(after: $cursor, first: $perPage, names: $names) {
      edges { cursor node { name directUrl sizeBytes } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

COLLECTIONS: Final = """
query CollectionsToRead($entity: String!, $project: String!, $cursor: String, $perPage: Int!) {
  project(name: $project, entityName: $entity) {
    artifactCollections(after: $cursor, first: $perPage) {
      edges { cursor node { __typename id name defaultArtifactType { name } } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

_RUN_REF: Final = "name project { name entityName }"

# The first users come with the versions: lineage then costs no request of its own.
COLLECTION_VERSIONS: Final = f"""
query CollectionToRead(
  $entity: String!, $project: String!, $collection: String!, $cursor: String, $perPage: Int!, $users: Int!,
  $withTags: Boolean!
) {{
  project(name: $project, entityName: $entity) {{
    artifactCollection(name: $collection) {{
      __typename id name description
      defaultArtifactType {{ name }}
      tags(first: $perPage) @include(if: $withTags) {{ edges {{ node {{ name }} }} }}
      artifacts(after: $cursor, first: $perPage, filters: "{{\\"state\\":\\"COMMITTED\\"}}") {{
        edges {{
          cursor version
          node {{
            id versionIndex state digest description metadata createdAt
            ttlDurationSeconds ttlIsInherited historyStep
            tags @include(if: $withTags) {{ name }}
            aliases {{ alias artifactCollectionName artifactCollection {{ __typename id }} }}
            artifactType {{ name }}
            artifactSequence {{ id name project {{ name entityName }} }}
            createdBy {{ __typename ... on Run {{ {_RUN_REF} }} }}
            usedBy(first: $users) {{
              edges {{ cursor node {{ {_RUN_REF} }} }}
              pageInfo {{ endCursor hasNextPage }}
            }}
            artifactMemberships {{
              edges {{
                node {{
                  artifactCollection {{
                    __typename id name
                    defaultArtifactType {{ name }}
                    project {{ name entityName }}
                  }}
                }}
              }}
            }}
          }}
        }}
        pageInfo {{ endCursor hasNextPage }}
      }}
    }}
  }}
}}
"""

PORTFOLIO_LINKS: Final = """
query PortfolioToRead(
  $entity: String!, $project: String!, $collection: String!, $cursor: String, $perPage: Int!,
  $withTags: Boolean!
) {
  project(name: $project, entityName: $entity) {
    artifactCollection(name: $collection) {
      __typename id name description
      defaultArtifactType { name }
      tags(first: $perPage) @include(if: $withTags) { edges { node { name } } }
      artifactMemberships(after: $cursor, first: $perPage) {
        edges {
          cursor
          node {
            versionIndex
            aliases { alias }
            artifact {
              id versionIndex state
              artifactSequence { name project { name entityName } }
            }
          }
        }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""

REGISTRY: Final = """
query RegistryToRead($entity: String!, $project: String!, $cursor: String, $perPage: Int!) {
  project(name: $project, entityName: $entity) {
    description access allowAllArtifactTypesInRegistry
    artifactTypes(after: $cursor, first: $perPage, includeAll: true) {
      edges { cursor node { name } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

USERS_OF_ARTIFACT: Final = f"""
query UsersOfArtifact($id: ID!, $cursor: String, $perPage: Int!) {{
  artifact(id: $id) {{
    usedBy(after: $cursor, first: $perPage) {{
      edges {{ cursor node {{ {_RUN_REF} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}
"""

_INPUTS: Final = """
  inputArtifacts(after: $cursor, first: $inputs) {
    edges { cursor usedAs node { id } }
    pageInfo { endCursor hasNextPage }
  }
"""

INPUTS_OF_RUNS: Final = f"""
query InputsOfRuns(
  $entity: String!, $project: String!, $cursor: String, $perPage: Int!, $filters: JSONString, $inputs: Int!
) {{
  project(name: $project, entityName: $entity) {{
    runs(filters: $filters, after: $cursor, first: $perPage) {{
      edges {{ cursor node {{ name {_INPUTS.replace("after: $cursor, ", "")} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}
"""

INPUTS_OF_RUN: Final = f"""
query InputsOfRun($entity: String!, $project: String!, $run: String!, $cursor: String, $inputs: Int!) {{
  {_OF_RUN} {_INPUTS} }} }}
}}
"""

ARTIFACT_NAME: Final = """
query NameOfArtifact($id: ID!) {
  artifact(id: $id) {
    versionIndex state
    artifactSequence { name project { name entityName } }
  }
}
"""
