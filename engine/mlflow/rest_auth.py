"""Who we are to a tracking server, and how we trust it: found where MLflow's own client looks.

Source of the names and their precedence: ``mlflow.utils.credentials`` and ``mlflow.utils.rest_utils`` (3.17).
"""

from __future__ import annotations

import base64
import configparser
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from engine.errors import ConfigError, Side, Unsupported

USERNAME = "MLFLOW_TRACKING_USERNAME"
PASSWORD = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105  (the name of a variable)
TOKEN = "MLFLOW_TRACKING_TOKEN"  # noqa: S105
INSECURE_TLS = "MLFLOW_TRACKING_INSECURE_TLS"
SERVER_CERT_PATH = "MLFLOW_TRACKING_SERVER_CERT_PATH"
CLIENT_CERT_PATH = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
WORKSPACE = "MLFLOW_WORKSPACE"

_OTHER_SCHEMES = ("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_AUTH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to talk to one tracking server.

    Attributes:
        url: without credentials, query and trailing slash; a path prefix is kept.
        authorization: value of the ``Authorization`` header, None for an open server.
        identity: the user name, where there is one.
        ssl_context: None means the defaults of the platform.
        workspace: the one that the user asked for; sent only to servers that have workspaces.
    """

    url: str
    authorization: str | None = field(default=None, repr=False)
    identity: str | None = None
    ssl_context: ssl.SSLContext | None = None
    workspace: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization} if self.authorization else {}


def access_of(uri: str, api_key: str | None = None, environ: Mapping[str, str] = os.environ) -> Access:
    """What to send to the server at ``uri``.

    The first of these that is there is used: ``api_key`` (a bearer token, or ``user:password``), the
    user info of the URI, user name and password of the environment or of ``~/.mlflow/credentials``,
    the token of the environment.

    Raises:
        ConfigError: the URI is malformed, or the TLS settings contradict each other or name no file.
        Unsupported: the environment asks for an authentication that only MLflow's plugins do.
    """
    try:
        url = URL(uri)
    except ValueError as error:
        raise ConfigError("the tracking URI is not a URL", side=Side.SOURCE, exc=error) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("the tracking URI is no http(s) URL with a host", side=Side.SOURCE)
    for name in _OTHER_SCHEMES:
        if environ.get(name, "").lower() not in ("", "false", "0"):
            raise Unsupported(
                f"{name} asks for an authentication that is not built in",
                side=Side.SOURCE,
                remedy="use a user name and password, a token, or a proxy that signs requests",
            )
    authorization, identity = _authorization(url, api_key, environ)
    return Access(
        url=shown(url),
        authorization=authorization,
        identity=identity,
        ssl_context=_ssl_context(environ) if url.scheme == "https" else None,
        workspace=environ.get(WORKSPACE) or None,
    )


def shown(url: URL) -> str:
    """A URL without what may be secret in it, and without a trailing slash."""
    return str(url.with_user(None).with_query(None).with_fragment(None)).rstrip("/")


def _authorization(
    url: URL, api_key: str | None, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    if api_key:
        # RFC 6750 leaves no colon in a bearer token, so that one tells a user name and password.
        user, colon, password = api_key.strip().partition(":")
        return _basic(user, password) if colon else (f"Bearer {user}", None)
    if url.user:
        return _basic(url.user, url.password or "")
    stored = _credentials_file()
    user = environ.get(USERNAME) or stored.get(USERNAME.lower(), "")
    password = environ.get(PASSWORD) or stored.get(PASSWORD.lower(), "")
    if user and password:
        return _basic(user, password)
    if token := environ.get(TOKEN, "").strip():
        return f"Bearer {token}", None
    return None, None


def _basic(user: str, password: str) -> tuple[str, str]:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(), user


def _credentials_file() -> Mapping[str, str]:
    path = Path.home() / ".mlflow" / "credentials"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except configparser.Error as error:
        raise ConfigError(f"{path} is no INI file: {type(error).__name__}", side=Side.SOURCE) from None
    return dict(parser["mlflow"]) if parser.has_section("mlflow") else {}


def _ssl_context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    insecure = environ.get(INSECURE_TLS, "").lower() in ("true", "1")
    authority, client = environ.get(SERVER_CERT_PATH), environ.get(CLIENT_CERT_PATH)
    if insecure and authority:
        raise ConfigError(
            f"{INSECURE_TLS} and {SERVER_CERT_PATH} contradict each other",
            side=Side.SOURCE,
            remedy="unset one",
        )
    if not (insecure or authority or client):
        return None
    name = SERVER_CERT_PATH
    try:
        if authority and Path(authority).is_dir():
            context = ssl.create_default_context(capath=authority)
        else:
            context = ssl.create_default_context(cafile=authority)
        name = CLIENT_CERT_PATH
        if client:
            context.load_cert_chain(client)
    except OSError as error:  # SSLError is one
        raise ConfigError(
            f"{name} cannot be used: {error.strerror or error}", side=Side.SOURCE, exc=error
        ) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
