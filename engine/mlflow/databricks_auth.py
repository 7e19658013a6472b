"""Host and credentials of a Databricks workspace, found where its CLI and SDK look.

Sources: Databricks' unified authentication (names of variables and fields), OAuth for service principals
(``/oidc/v1/token``). Not tried against a live workspace.
"""

from __future__ import annotations

import base64
import configparser
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from engine.errors import AuthError, ConfigError, Side, Unsupported
from engine.http import HttpClient
from engine.transfer.throttling.throttle import Endpoint

CONFIG_FILE = "DATABRICKS_CONFIG_FILE"
CONFIG_PROFILE = "DATABRICKS_CONFIG_PROFILE"
DEFAULT_PROFILE = "DEFAULT"

_FIELDS: Mapping[str, str] = {
    "host": "DATABRICKS_HOST",
    "token": "DATABRICKS_TOKEN",
    "client_id": "DATABRICKS_CLIENT_ID",
    "client_secret": "DATABRICKS_CLIENT_SECRET",
    "workspace_id": "DATABRICKS_WORKSPACE_ID",
}

TOKEN_PATH = "oidc/v1/token"  # noqa: S105  (a path)

RENEW_BEFORE_S = 300.0
"""Seconds before its end that an OAuth token is renewed; it lives for an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """One workspace, and either a token or an OAuth client for it."""

    host: str
    token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    workspace_id: str | None = None


def workspace_of(uri: str, api_key: str | None = None, environ: Mapping[str, str] = os.environ) -> Workspace:
    """The workspace that ``databricks`` or ``databricks://profile`` names.

    A profile that is named, by the URI or by ``DATABRICKS_CONFIG_PROFILE``, counts before the other
    variables, these before the profile ``DEFAULT``.

    Raises:
        ConfigError: there is no such profile, or no host or credentials in it.
        Unsupported: the URI names a secret scope, which only exists inside of Databricks.
    """
    named = uri.removeprefix("databricks").removeprefix("://").rstrip("/")
    if ":" in named:
        raise Unsupported(
            "databricks://scope:prefix reads secrets that only a Databricks notebook can",
            side=Side.SOURCE,
            remedy="use databricks://PROFILE, or DATABRICKS_HOST and DATABRICKS_TOKEN",
        )
    profile = named or environ.get(CONFIG_PROFILE, "")
    from_environment = {
        name: environ[variable] for name, variable in _FIELDS.items() if environ.get(variable)
    }
    from_file = _profile(profile or DEFAULT_PROFILE, environ, required=bool(profile))
    found = {**from_environment, **from_file} if profile else {**from_file, **from_environment}
    if api_key:
        found["token"] = api_key
    host = found.get("host", "").strip().rstrip("/")
    where = f"profile {profile!r}" if profile else "the environment or the profile DEFAULT"
    if not host:
        raise ConfigError(
            f"no Databricks host in {where}",
            side=Side.SOURCE,
            remedy="set DATABRICKS_HOST, or run `databricks configure`",
        )
    if not (found.get("token") or (found.get("client_id") and found.get("client_secret"))):
        raise ConfigError(
            f"no Databricks token and no OAuth client in {where}",
            side=Side.SOURCE,
            subject=host,
            remedy="set DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET; "
            "other ways to sign in are not built in",
        )
    return Workspace(
        host=host if "://" in host else f"https://{host}",
        token=found.get("token"),
        client_id=found.get("client_id"),
        client_secret=found.get("client_secret"),
        workspace_id=found.get("workspace_id"),
    )


def _profile(name: str, environ: Mapping[str, str], *, required: bool) -> Mapping[str, str]:
    path = Path(environ.get(CONFIG_FILE) or "~/.databrickscfg").expanduser()
    # Databricks' DEFAULT is a profile like any other, not the parent of all as in configparser.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read(path, encoding="utf-8")
    except configparser.Error as error:
        raise ConfigError(f"{path} is no INI file: {type(error).__name__}", side=Side.SOURCE) from None
    if parser.has_section(name):
        return {key: value for key, value in parser[name].items() if key in _FIELDS and value}
    if required:
        raise ConfigError(
            f"{path} has no profile {name!r}",
            side=Side.SOURCE,
            remedy=f"it has: {', '.join(parser.sections()) or 'none'}",
        )
    return {}


class Credentials:
    """The ``Authorization`` header of a workspace, renewed before it ends."""

    def __init__(self, workspace: Workspace, http: HttpClient) -> None:
        self._workspace = workspace
        self._http = http
        self._token = workspace.token
        self._ends = float("inf")
        self._renewing = anyio.Lock()

    async def headers(self) -> dict[str, str]:
        """What every request to the workspace carries.

        Raises:
            AuthError: the OAuth client is refused.
        """
        async with self._renewing:
            if self._token is None or time.monotonic() > self._ends - RENEW_BEFORE_S:
                self._token = await self._renew()
        headers = {"Authorization": f"Bearer {self._token}"}
        if self._workspace.workspace_id:
            headers["X-Databricks-Org-Id"] = self._workspace.workspace_id
        return headers

    async def _renew(self) -> str:
        pair = f"{self._workspace.client_id}:{self._workspace.client_secret}"
        answer = (
            await self._http.request(
                "POST",
                f"{self._workspace.host}/{TOKEN_PATH}",
                endpoint=Endpoint.MLFLOW_REST,
                headers={
                    "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
                    "Content-Type": "application/x-www-form-urlencoded",
                },
                body=b"grant_type=client_credentials&scope=all-apis",
            )
        ).json()
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise AuthError(
                "the workspace gave no OAuth token",
                side=Side.SOURCE,
                subject=self._workspace.host,
                remedy="do DATABRICKS_CLIENT_ID and _SECRET belong to a service principal there?",
            )
        self._ends = time.monotonic() + float(answer.get("expires_in", 3600))
        return str(answer["access_token"])
