"""Requests to a tracking server, and what its answers mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import orjson

from engine.answers import Response, error_of, retry_after_s
from engine.errors import (
    AuthError,
    CommError,
    EngineError,
    NotFound,
    RateLimited,
    Side,
    Transient,
    Unsupported,
)
from engine.http import HttpClient, Query
from engine.records import Json
from engine.transfer.throttling.throttle import Endpoint

Prepare: TypeAlias = Callable[[str], Awaitable[Mapping[str, str]]]
"""Awaited before a request to a path; gives headers to add. May wait, to keep to a quota."""

_DATABASE_TROUBLE = ("QueuePool limit", "database is locked", "OperationalError", "deadlock")
"""Words by which a 400 of MLflow tells that its database, not the request, is in trouble."""

_CLASSES: Mapping[str, type[EngineError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "ENDPOINT_NOT_FOUND": Unsupported,
    "FEATURE_DISABLED": Unsupported,
    "NOT_IMPLEMENTED": Unsupported,
    "PERMISSION_DENIED": AuthError,
    "UNAUTHENTICATED": AuthError,
    "CUSTOMER_UNAUTHORIZED": AuthError,
    "INVALID_PARAMETER_VALUE": CommError,
    "REQUEST_LIMIT_EXCEEDED": RateLimited,
    "RESOURCE_EXHAUSTED": RateLimited,
    "RESOURCE_LIMIT_EXCEEDED": RateLimited,
    "TEMPORARILY_UNAVAILABLE": Transient,
}

_CREDENTIALS_REMEDY = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN "
    "(DATABRICKS_TOKEN for Databricks), to those of a user who may read there"
)


def classify(response: Response) -> EngineError | None:
    """The error that an answer of MLflow means; None where the HTTP status says enough."""
    error = error_of(response)
    if error is None:
        return None
    code, words = _code_and_words(response.body)
    if response.status == 403 and "Invalid Host header" in words:
        return CommError(
            "the server refuses requests under this host name",
            status=403,
            remedy="start it with --allowed-hosts, or use a host name that it allows",
        )
    if response.status == 503 and "disabled" in words:
        return Unsupported(words.strip()[:300], status=503)
    if response.status == 400 and any(word in words for word in _DATABASE_TROUBLE):
        return Transient(error.message, status=400)
    if response.status == 400 and "Invalid path" in words:
        return CommError(
            "the server does not hand out files of such a name",
            status=400,
            remedy="read its store directly: copy or mount it and name it with --artifact-root OLD=NEW",
        )
    kind = _CLASSES.get(code, type(error))
    if issubclass(kind, Transient):
        return kind(error.message, status=response.status, retry_after_s=retry_after_s(response.headers))
    remedy = _CREDENTIALS_REMEDY if issubclass(kind, AuthError) else error.remedy
    return kind(error.message, status=response.status, remedy=remedy)


def _code_and_words(body: bytes) -> tuple[str, str]:
    text = body.decode("utf-8", "replace")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", text
    if not isinstance(parsed, dict):
        return "", text
    return str(parsed.get("error_code", "")), str(parsed.get("message") or parsed.get("detail") or text)


class TrackingApi:
    """One tracking server.

    Args:
        http: made with ``classify``, and with the credentials unless ``prepare`` brings them.
        url: the server, without a trailing slash; may have a path prefix.
        prepare: see ``Prepare``.
    """

    def __init__(self, http: HttpClient, url: str, prepare: Prepare | None = None) -> None:
        self.http = http
        self.url = url
        self._prepare = prepare

    async def get(self, path: str, params: Query = None, *, subject: str | None = None) -> Mapping[str, Json]:
        """GET a JSON object.

        Raises:
            EngineError: of the class that fits the answer; ``CommError`` if it is no JSON object.
        """
        return self._object(await self._send("GET", path, subject, params=params), path)

    async def post(
        self, path: str, body: Json, *, subject: str | None = None, retry: bool = True
    ) -> Mapping[str, Json]:
        """POST a JSON object; as ``get``. Only for the searches, which are idempotent."""
        return self._object(await self._send("POST", path, subject, body=body, retry=retry), path)

    async def headers(self, path: str) -> dict[str, str]:
        """What a request to a path carries beyond what the client sends anyway; may wait for a quota."""
        return dict(await self._prepare(path)) if self._prepare else {}

    async def text(self, path: str) -> str:
        """GET a short text, in one attempt."""
        return (await self._send("GET", path, None, retry=False)).body[:10_000].decode("utf-8", "replace")

    async def _send(
        self,
        method: str,
        path: str,
        subject: str | None,
        *,
        params: Query = None,
        body: Json = None,
        retry: bool = True,
    ) -> Response:
        headers = await self.headers(path)
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self.http.request(
            method,
            f"{self.url}/{path}",
            endpoint=Endpoint.MLFLOW_REST,
            subject=subject,
            headers=headers,
            params=params,
            body=None if body is None else orjson.dumps(body),
            retry=retry,
        )

    def _object(self, response: Response, path: str) -> Mapping[str, Json]:
        try:
            answer = response.json()
        except CommError as error:
            raise self.not_mlflow(path, error) from error
        if not isinstance(answer, dict):
            raise self.not_mlflow(path, None)
        return answer

    def not_mlflow(self, path: str, cause: EngineError | None) -> CommError:
        """The error for an answer that no tracking server gives."""
        return CommError(
            "the answer is not MLflow's: a page or something else in place of its JSON",
            side=Side.SOURCE,
            subject=f"{self.url}/{path}",
            remedy="is this really an MLflow tracking server? a login page or gateway may be in the way",
            exc=cause,
        )
