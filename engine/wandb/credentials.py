"""How the caller is known to a W&B server: found as the SDK finds it, never stored.

An API key from the options, ``WANDB_API_KEY`` or netrc; or the JWT in ``WANDB_IDENTITY_TOKEN_FILE``,
exchanged for a short-lived access token (``wandb/sdk/lib/wbauth``, ``core/internal/api/credentials.go``).
"""

from __future__ import annotations

import base64
import netrc
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import anyio

from engine.errors import AuthError, ConfigError, Side

RENEW_BEFORE_S = 300.0
_FORGE_UPSTREAM = {"api.forge.coreweave.com": "api.wandb.ai"}
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
_KEY = re.compile(r"(?:[^-]*-)?[\w-]{40,}")


class Credentials(Protocol):
    """Makes the ``Authorization`` header of a request."""

    async def authorization(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ApiKey:
    """HTTP Basic with the user ``api``; the server reads only the password."""

    key: str = field(repr=False)

    async def authorization(self) -> str:
        return "Basic " + base64.b64encode(f"api:{self.key}".encode()).decode("ascii")


Exchange = Callable[[str], Awaitable[tuple[str, float]]]
"""Gives a JWT to the server for ``(access token, seconds that it lives)``."""


class IdentityToken:
    """A JWT in a file, exchanged when it is first needed and again before the access token ends."""

    def __init__(self, path: Path, exchange: Exchange) -> None:
        self._path = path
        self._exchange = exchange
        self._token = ""
        self._renew_at = 0.0
        self._lock = anyio.Lock()

    async def authorization(self) -> str:
        async with self._lock:
            if time.monotonic() >= self._renew_at:
                try:
                    jwt = (await anyio.Path(self._path).read_text()).strip()
                except OSError as error:
                    raise AuthError(
                        f"the identity token cannot be read: {error.strerror}",
                        subject=str(self._path),
                        remedy="check WANDB_IDENTITY_TOKEN_FILE",
                        exc=error,
                    ) from error
                self._token, lives_s = await self._exchange(jwt)
                self._renew_at = time.monotonic() + max(lives_s - RENEW_BEFORE_S, lives_s / 2)
        return f"Bearer {self._token}"


def find(
    base_url: str,
    api_key: str | None,
    exchange: Exchange,
    *,
    side: Side = Side.DESTINATION,
    environ: Mapping[str, str] | None = None,
) -> Credentials:
    """The credentials for a server; an explicit key wins over the environment, that over netrc.

    Raises:
        ConfigError: there are none, there are two, or the key has not the form of one.
    """
    environ = os.environ if environ is None else environ
    token_file = environ.get("WANDB_IDENTITY_TOKEN_FILE")
    if api_key is None:
        api_key = environ.get("WANDB_API_KEY") or None
        if api_key and token_file:
            raise ConfigError(
                "both WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are set",
                side=side,
                remedy="unset one of them",
            )
        if token_file and not api_key:
            return IdentityToken(Path(token_file).expanduser(), exchange)
        api_key = api_key or _from_netrc(base_url, environ)
    if not api_key:
        raise ConfigError(
            f"no API key for {base_url}",
            side=side,
            remedy=f"set WANDB_API_KEY, or add machine {urlsplit(base_url).netloc} to ~/.netrc",
        )
    if not (_JWT.fullmatch(api_key) or _KEY.fullmatch(api_key)):
        raise ConfigError(
            "the W&B API key is malformed",
            side=side,
            remedy="a key has 40 or more letters, digits and underscores; copy it again",
        )
    return ApiKey(api_key)


def _from_netrc(base_url: str, environ: Mapping[str, str]) -> str | None:
    if configured := environ.get("NETRC"):
        path = Path(configured).expanduser()
    else:
        unix, windows = Path.home() / ".netrc", Path.home() / "_netrc"
        path = windows if windows.exists() and not unix.exists() else unix
    try:
        entries = netrc.netrc(path)
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, OSError) as error:
        # The parser's message quotes the file, which holds secrets.
        where = f", line {error.lineno}" if isinstance(error, netrc.NetrcParseError) else ""
        raise ConfigError(f"{path} cannot be read{where}", remedy="correct it or set WANDB_API_KEY") from None
    host = urlsplit(base_url).netloc
    for machine in (host, _FORGE_UPSTREAM.get(host)):
        if machine and (found := entries.authenticators(machine)):
            return found[2] or None
    return None
