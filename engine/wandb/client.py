"""Speaks to one W&B server: GraphQL, and what an answer means."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import orjson

from engine import __version__
from engine.answers import Response, error_of, parse_json, retry_after_s
from engine.errors import (
    AuthError,
    CommError,
    Conflict,
    EngineError,
    NotFound,
    RateLimited,
    Side,
    Transient,
    Unsupported,
)
from engine.http import READ_TIMEOUT_S, HttpClient
from engine.records import Json
from engine.transfer.context import Context, Counters
from engine.transfer.throttling.retry import RetryPolicy, retrying
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb import credentials, documents


def _words(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_LIMITED = _words("rate limit", "too many requests")
_LACKING = _words("cannot query field", "unknown (argument|type|field)", "not defined by type")
# In the words of the servers; the first that fits names the error.
_MEANINGS: tuple[tuple[re.Pattern[str], type[EngineError]], ...] = (
    (_LIMITED, RateLimited),
    (_LACKING, Unsupported),
    (_words("permission denied", "not authorized", "unauthorized", "forbidden", "not logged in"), AuthError),
    (_words("not found", "could not find", "does not exist"), NotFound),
    (_words("deadline exceeded", "timed? ?out", "temporarily", "try again", "internal server"), Transient),
)
_HELLO = RetryPolicy(attempts=4)
"""Somebody is waiting in front of the screen, and a wrong address does not become right."""

_KEY_REMEDY = "check that the key is one of this server: in WANDB_API_KEY, another variable, or netrc"
_DELETED = _words("previously created and deleted")


def classify(response: Response) -> EngineError | None:
    """What a GraphQL answer means beyond its status; None where the status says it all.

    A run id that was used and deleted is answered with 409 like a passing conflict; only the text
    tells them apart. Errors of resolvers may come with status 200, and a document that asks for what a server
    does not know with either.
    """
    if response.status >= 400:
        told = response.body.decode("utf-8", "replace")
        if response.status == 401 and (refused := error_of(response)) is not None:
            refused.remedy = _KEY_REMEDY
            return refused
        if b'"errors"' in response.body and _LIMITED.search(told):
            return RateLimited(
                told[:300], status=response.status, retry_after_s=retry_after_s(response.headers)
            )
        if response.status in (400, 422) and _LACKING.search(told):
            return Unsupported(told[:300], status=response.status)
        return _burnt_id(response.status) if _DELETED.search(told) else None
    # From the right, because there CPython searches a large body in less than half the time.
    if response.body.rfind(b'"errors"') < 0:
        return None
    answer = parse_json(response.body)
    if not isinstance(answer, dict) or not (errors := answer.get("errors")):
        return None
    message = "; ".join(str(error.get("message", error)) for error in errors)
    if _DELETED.search(message):
        return _burnt_id(response.status)
    for pattern, meaning in _MEANINGS:
        if pattern.search(message):
            return meaning(message)
    return CommError(message)


def _burnt_id(status: int) -> Conflict:
    return Conflict(
        "this run id was used before and deleted, and the server never takes it again",
        status=status,
        remedy="bring it under another id with --ids suffix, or restore the deleted run in the W&B app",
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the key belongs to, and the entities that it may surely write to."""

    username: str | None
    entity: str | None
    entities: tuple[str, ...]


class WandbClient:
    """An authenticated connection to one server; made by ``connect``.

    Attributes:
        features: names of the optional parts of the protocol that this server has.
    """

    def __init__(
        self,
        http: HttpClient,
        base_url: str,
        api_key: str | None,
        counters: Counters,
        side: Side = Side.DESTINATION,
    ) -> None:
        self.http = http
        self.base_url = base_url
        self.side = side
        self.features: frozenset[str] = frozenset()
        self._counters = counters
        self._credentials = credentials.find(base_url, api_key, self._exchange, side=side)

    async def headers(self) -> dict[str, str]:
        """Headers of an authenticated JSON request."""
        return {
            "Authorization": await self._credentials.authorization(),
            "Content-Type": "application/json",
        }

    async def graphql(
        self, document: str, variables: Mapping[str, Json], subject: str, *, retry: bool = True
    ) -> Json:
        """Send an operation and return its ``data``.

        Args:
            retry: False if the caller decides itself what to try again.

        Raises:
            EngineError: of the class that fits the answer.
        """

        async def attempt() -> Json:
            response = await self.http.request(
                "POST",
                f"{self.base_url}/graphql",
                endpoint=Endpoint.GRAPHQL,
                subject=subject,
                headers=await self.headers(),
                body=orjson.dumps({"query": document, "variables": variables}),
                retry=False,
            )
            data = self._data_of(response, subject)
            self._counters.changes += document.lstrip().startswith("mutation")
            return data

        return await (retrying(attempt) if retry else attempt())

    async def create(
        self,
        document: str,
        variables: Mapping[str, Json],
        subject: str,
        find: Callable[[], Awaitable[Json | None]],
    ) -> Json:
        """Send an operation that makes something new each time it is sent.

        Args:
            find: what an attempt made whose answer was lost, in the form of ``data``; None if nothing.

        Raises:
            EngineError: of the class that fits the answer.
        """
        sent = False

        async def attempt() -> Json:
            nonlocal sent
            if sent and (found := await find()) is not None:
                return found
            sent = True
            return await self.graphql(document, variables, subject, retry=False)

        return await retrying(attempt)

    def _data_of(self, response: Response, subject: str) -> Json:
        try:
            answer = response.json()
        except CommError as error:
            # Cut off or garbled on the way: what is asked for again may well arrive.
            raise Transient(
                error.message, side=self.side, subject=subject, remedy=error.remedy, exc=error
            ) from error
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise CommError(
                "the answer is no GraphQL result",
                side=self.side,
                subject=subject,
                remedy=f"is {self.base_url} the address of a W&B server?",
            )
        return data

    async def identify(self) -> Identity:
        """Ask who we are and what the server can do, in one request where the server is not too old.

        Raises:
            AuthError: the key is not known to the server.
        """

        async def ask(document: str) -> Json:
            return await retrying(partial(self.graphql, document, {}, self.base_url, retry=False), _HELLO)

        try:
            data = await ask(documents.CONNECT)
        except (Unsupported, CommError) as error:
            # Servers without `serverInfo.features` refuse the whole document; all features count as off.
            if error.status not in (None, 400, 422):
                raise
            data = await ask(documents.VIEWER)
        viewer = data.get("viewer")
        if viewer is None:
            raise AuthError(
                "the API key is not valid on this server",
                side=self.side,
                subject=self.base_url,
                remedy=_KEY_REMEDY,
            )
        info = data.get("serverInfo") or {}
        self.features = frozenset(
            feature["name"] for feature in info.get("features") or () if feature and feature["isEnabled"]
        )
        teams = [edge["node"]["name"] for edge in (viewer.get("teams") or {}).get("edges") or ()]
        own = [name for name in (viewer.get("entity"), viewer.get("username")) if name]
        return Identity(viewer.get("username"), viewer.get("entity"), tuple(dict.fromkeys(own + teams)))

    def absolute(self, url: str) -> str:
        """An upload URL that may be relative to the server."""
        return f"{self.base_url}{url}" if url.startswith("/") else url

    async def _exchange(self, jwt: str) -> tuple[str, float]:
        response = await self.http.request(
            "POST",
            f"{self.base_url}/oidc/token",
            endpoint=Endpoint.GRAPHQL,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(
                {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": jwt}
            ).encode(),
        )
        answer = response.json()
        return answer["access_token"], float(answer["expires_in"])


@asynccontextmanager
async def connect(
    base_url: str,
    api_key: str | None,
    context: Context,
    side: Side = Side.DESTINATION,
    *,
    read_timeout_s: float = READ_TIMEOUT_S,
) -> AsyncGenerator[WandbClient]:
    """An open client; nothing is sent yet.

    Raises:
        ConfigError: no usable credentials were found.
    """
    http = HttpClient(
        side,
        context,
        headers={"User-Agent": f"transfer-engine/{__version__}"},
        classify=classify,
        read_timeout_s=read_timeout_s,
    )
    client = WandbClient(http, base_url, api_key, context.counters, side)
    async with http:
        yield client
