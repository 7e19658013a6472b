"""What the server says about itself."""

from __future__ import annotations

from typing import Any

from engine.sandbox.context import Call
from engine.sandbox.graph.execution import resolver

FEATURES = (
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_REGISTRY_SEARCH",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "LARGE_FILENAMES",
    "MARK_RUN_FILES_UPLOADED",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "SWEEPS_QUERY_FILTERING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)
"""Feature flags by their names in the SDK's ``ServerFeature``; one that is missing is off."""


@resolver("Query.serverInfo")
def server_info(_root: None, call: Call) -> dict[str, Any]:
    return {
        "cliVersionInfo": {"max_cli_version": "0.31.0", "min_cli_version": "0.12.0"},
        "latestLocalVersionInfo": None,
        "frontendHost": call.base_url,
        "messageOfTheDay": None,
        "features": [{"name": name, "isEnabled": True} for name in FEATURES],
        "exposesExplicitRunQueueAckPath": False,
    }
