"""The one way in which this package speaks HTTP.

Every request of every vendor module goes through an ``HttpClient``: it has the connection pool,
waits for the throttle of the endpoint, classifies the answer into an ``engine.errors`` class and tries
again where that may help. URLs in errors are shown without their query, which may hold a signature.
"""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeAlias

import aiohttp
from yarl import URL

from engine.answers import Classifier, Response, error_of, message_of
from engine.bodies import INLINE, Body, sending
from engine.errors import (
    CommError,
    ConfigError,
    EngineError,
    Outage,
    RateLimited,
    Side,
    Transient,
)
from engine.transfer.throttling.retry import DEFAULT_POLICY, RetryPolicy, retrying
from engine.transfer.throttling.throttle import Endpoint, Ticket
from engine.witness import is_there

if TYPE_CHECKING:
    from engine.transfer.context import Context

Query: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]] | None

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
GONE = (502, 503, 504)
"""Statuses by which a server, or the proxy before it, says that it cannot work at all."""

PIECE = 256 * 1024
"""Bytes read from a socket at once when streaming."""

_CONNECT_REMEDY = "is it running, and are host and port right?"


class HttpClient:
    """A pool of connections to the hosts of one side.

    Args:
        side: whose errors these are.
        context: throttles and counters of the transfer.
        headers: sent with every request that is not ``anonymous``, credentials among them.
        ssl_context: for a custom CA or client certificate; None means the defaults.
        classify: vendor's own reading of an answer, asked before the status is.
        policy: how often to try again.
        read_timeout_s: a socket that is silent for so long is given up.
    """

    def __init__(
        self,
        side: Side,
        context: Context,
        *,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        classify: Classifier | None = None,
        policy: RetryPolicy = DEFAULT_POLICY,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self.side = side
        self.read_ahead = context.read_ahead
        self._context = context
        self._headers = dict(headers or {})
        self._ssl = ssl_context
        self._classify = classify
        self._policy = policy
        self._read_timeout_s = read_timeout_s
        # Asked once: reading the environment costs as much as the rest of a small request.
        self._proxies = urllib.request.getproxies_environment()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # The throttle owns concurrency, so the pool itself has no limit. No total timeout: a large
        # object takes as long as it takes, while a silent socket is given up.
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=300, ssl=self._ssl or True)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._read_timeout_s
            ),
            read_bufsize=PIECE,
            # Some object stores sign the content type, also when it is none; who has one, tells it.
            skip_auto_headers=(aiohttp.hdrs.CONTENT_TYPE,),
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        endpoint: Endpoint,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Query = None,
        body: Body = None,
        anonymous: bool = False,
        retry: bool = True,
    ) -> Response:
        """Send a request and read the answer whole, again where that may help.

        Args:
            subject: the object concerned, for errors; default is the URL without its query.
            anonymous: send no credentials, as presigned URLs want it.
            retry: False makes the first error final; for calls that are not idempotent.

        Raises:
            EngineError: of the class that fits the answer.
        """

        async def attempt() -> Response:
            async with self._send(method, url, endpoint, subject, headers, params, body, anonymous) as answer:
                return Response(answer.status, answer.headers, await answer.read())

        return await (retrying(attempt, self._policy) if retry else attempt())

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        endpoint: Endpoint,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Query = None,
        anonymous: bool = False,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """One GET whose body the caller reads; a break in the middle raises ``Transient``.

        An object may be JSON of its own, so that only an answer with an error status is classified.
        """
        async with self._send(
            "GET", url, endpoint, subject, headers, params, None, anonymous, is_object=True
        ) as answer:
            yield answer

    async def _error_of(
        self, answer: aiohttp.ClientResponse, method: str, *, is_object: bool
    ) -> EngineError | None:
        """What an answer means; reads it if it means an error."""
        typed_as_page = _is_typed_as_page(method, answer)
        classify = None if is_object and answer.status < 400 else self._classify
        if answer.status < 400 and not typed_as_page and not (classify and _is_json(answer)):
            return None
        read = Response(answer.status, answer.headers, await answer.read())
        if typed_as_page:
            # Servers that give no type of their own to an empty answer come with this one, too.
            return WebPage(message_of(read.body), answer.status) if read.body.lstrip()[:1] == b"<" else None
        return (classify(read) if classify else None) or error_of(read)

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        url: str,
        endpoint: Endpoint,
        subject: str | None,
        headers: Mapping[str, str] | None,
        params: Query,
        body: Body,
        anonymous: bool,
        *,
        is_object: bool = False,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        if (session := self._session) is None:
            raise ConfigError("the connection is closed", side=self.side, subject=subject)
        # A signed URL must go out byte for byte as it was signed.
        target = URL(url, encoded=params is None)
        what = subject or _without_query(target)
        host = f"{target.host}:{target.port}"
        small = not callable(body) and len(body or b"") <= INLINE
        try:
            async with self._context.throttles.of(host, endpoint).slot() as ticket:
                self._context.counters.requests += 1
                with sending(body) as upload:
                    async with session.request(
                        method,
                        target,
                        params=params,
                        headers={**({} if anonymous else self._headers), **(headers or {})},
                        data=upload.data,
                        proxy=_proxy_of(target, self._proxies),
                    ) as answer:
                        upload.answered()
                        ticket.headers(answer.headers)
                        self._context.clocks.note(self.side, host, answer.headers)
                        error = await self._error_of(answer, method, is_object=is_object)
                        if error is not None:
                            error.side, error.subject = self.side, error.subject or what
                            if isinstance(error, RateLimited):
                                ticket.rejected(error.retry_after_s)
                            elif isinstance(error, Transient) and _is_of_server(error):
                                sure = answer.status in GONE or isinstance(error, WebPage)
                                error.counts = not await self._is_outage(
                                    session, ticket, target, what, sure=sure
                                )
                            else:
                                ticket.accepted(small=small)
                            raise error
                        ticket.accepted(small=small)
                        yield answer
        except Outage as outage:
            if outage.subject is None:  # else it is that of the other side, whose bytes were being sent
                outage.side, outage.subject = self.side, f"{endpoint} of {host}"
            raise
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise CommError(
                f"TLS failed: {error}",
                side=self.side,
                subject=what,
                remedy="is the CA of this server trusted here? set SSL_CERT_FILE to its bundle",
                exc=error,
            ) from error
        except aiohttp.InvalidURL as error:
            raise CommError(f"not a URL: {_without_query(target)}", side=self.side, exc=error) from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            failure = Transient(
                f"{method} failed: {_reason(error)}",
                side=self.side,
                subject=what,
                remedy=_CONNECT_REMEDY if isinstance(error, aiohttp.ClientConnectorError) else None,
                exc=error,
            )
            broke = not isinstance(error, aiohttp.ClientConnectorError)
            failure.counts = not await self._is_outage(session, ticket, target, what, sure=True, broke=broke)
            raise failure from error

    async def _is_outage(
        self,
        session: aiohttp.ClientSession,
        ticket: Ticket,
        target: URL,
        what: str,
        *,
        sure: bool,
        broke: bool = False,
    ) -> bool:
        """Note a failure; whether the server itself is gone, which is asked where that is in doubt."""
        outage = ticket.failed(what, sure=sure, broke=broke)
        if ticket.is_doubtful:
            there = await is_there(session, target, _proxy_of(target, self._proxies))
            outage = ticket.witness(is_there=there)
        return outage


def _is_of_server(error: Transient) -> bool:
    """Whether an answer tells of the server's own trouble, rather than of this request's."""
    return isinstance(error, WebPage) or (error.status or 0) >= 500


def _is_json(answer: aiohttp.ClientResponse) -> bool:
    return _is_of_type(answer, "application/json")


def _is_of_type(answer: aiohttp.ClientResponse, wanted: str) -> bool:
    # aiohttp would parse the header whole, which costs a quarter of a small request.
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() == wanted


class WebPage(Transient):
    """A page for people stands in the place of an answer: whoever sent it, the server itself is not there."""

    kind = Transient.__name__

    def __init__(self, title: str, status: int) -> None:
        super().__init__(
            f"got a web page in the place of an answer: {title}",
            status=status,
            remedy="is a proxy or login page in the way?",
        )


def _is_typed_as_page(method: str, answer: aiohttp.ClientResponse) -> bool:
    """Whether an answer may be a page for people; what a GET reads may be HTML itself."""
    return answer.status < 400 and method not in ("GET", "HEAD") and _is_of_type(answer, "text/html")


def _without_query(url: URL) -> str:
    return str(url.with_query(None).with_user(None)) if url.is_absolute() else url.path


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({error.os_error.strerror or error.os_error})"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _proxy_of(url: URL, proxies: Mapping[str, str]) -> str | None:
    """The proxy of the environment; aiohttp's own ``trust_env`` would also read netrc credentials."""
    if not proxies or urllib.request.proxy_bypass(url.host or ""):
        return None
    return proxies.get(url.scheme)
