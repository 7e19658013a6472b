"""Credentials and trust are found where MLflow's own client finds them."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from engine.errors import AuthError, ConfigError, Unsupported
from engine.mlflow.rest import open_rest_store
from engine.mlflow.rest_auth import access_of
from engine.protocols import SystemOptions
from engine.transfer.context import Context
from tests.mlflow.conftest import ServedWorld
from tests.mlflow.local import in_front_of

URL = "https://mlflow.example:8443/team/a"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_an_open_server_gets_no_header() -> None:
    access = access_of(URL, environ={})
    assert access.headers == {}
    assert access.ssl_context is None


def test_a_path_prefix_is_kept_and_user_info_query_and_slash_are_not_shown() -> None:
    access = access_of("http://ada:s%40cret@mlflow.example:5000/team/a/?token=x", environ={})
    assert access.url == "http://mlflow.example:5000/team/a"
    assert access.authorization == basic("ada", "s@cret")
    assert access.identity == "ada"
    assert "s@cret" not in repr(access)
    assert "cret" not in repr(access)


def test_user_and_password_come_before_the_token() -> None:
    environ = {
        "MLFLOW_TRACKING_USERNAME": "ada",
        "MLFLOW_TRACKING_PASSWORD": "secret",
        "MLFLOW_TRACKING_TOKEN": "token",
    }
    assert access_of(URL, environ=environ).authorization == basic("ada", "secret")
    del environ["MLFLOW_TRACKING_PASSWORD"]
    assert access_of(URL, environ=environ).authorization == "Bearer token"


def test_the_credentials_file_fills_what_the_environment_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = file\nmlflow_tracking_password = 100%\n"
    )
    assert access_of(URL, environ={}).authorization == basic("file", "100%")
    assert access_of(URL, environ={"MLFLOW_TRACKING_USERNAME": "env"}).authorization == basic("env", "100%")


def test_a_key_of_the_caller_wins_and_may_be_a_token_or_a_pair() -> None:
    environ = {"MLFLOW_TRACKING_TOKEN": "token"}
    assert access_of(URL, "mine\n", environ=environ).authorization == "Bearer mine"
    assert access_of(URL, "ada:a:b", environ=environ).authorization == basic("ada", "a:b")


def test_tls_can_be_unchecked_or_checked_against_an_own_ca_but_not_both(tmp_path: Path) -> None:
    insecure = access_of(URL, environ={"MLFLOW_TRACKING_INSECURE_TLS": "true"}).ssl_context
    assert insecure is not None
    assert insecure.verify_mode is ssl.CERT_NONE
    bundle = tmp_path / "ca.pem"
    bundle.write_text(_a_certificate())
    own = access_of(URL, environ={"MLFLOW_TRACKING_SERVER_CERT_PATH": str(bundle)}).ssl_context
    assert own is not None
    assert own.verify_mode is ssl.CERT_REQUIRED
    assert own.cert_store_stats()["x509"] == 1, "only the own CA is trusted"
    with pytest.raises(ConfigError, match="contradict"):
        access_of(
            URL,
            environ={
                "MLFLOW_TRACKING_INSECURE_TLS": "true",
                "MLFLOW_TRACKING_SERVER_CERT_PATH": str(bundle),
            },
        )


@pytest.mark.parametrize("name", ["SERVER_CERT_PATH", "CLIENT_CERT_PATH"])
def test_a_certificate_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"MLFLOW_TRACKING_{name} cannot be used"):
        access_of(URL, environ={f"MLFLOW_TRACKING_{name}": "/no/such.pem"})


def test_authentication_by_plugin_is_refused_instead_of_going_without() -> None:
    with pytest.raises(Unsupported, match="SIGV4"):
        access_of(URL, environ={"MLFLOW_TRACKING_AWS_SIGV4": "true"})


@pytest.mark.parametrize("uri", ["http://", "ftp://host", "http://[::1", "https:///path"])
def test_what_is_no_url_of_a_server_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError):
        access_of(uri, environ={})


@pytest.mark.anyio
async def test_a_guarded_server_opens_to_the_right_password_only(
    served_world: ServedWorld, tmp_path: Path
) -> None:
    context = Context(spool=tmp_path)

    def guard(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == basic("ada", "correct horse"):
            return None
        return web.Response(
            status=401, text="You are not authenticated", headers={"WWW-Authenticate": "Basic"}
        )

    async with in_front_of(served_world.server.url, guard) as url:
        right = open_rest_store(url, SystemOptions(api_key="ada:correct horse"))
        async with right.open(context) as info:
            assert info.identity == "ada"
        for key in ("ada:wrong", "token", None):
            with pytest.raises(AuthError) as failure:
                async with open_rest_store(url, SystemOptions(api_key=key)).open(context):
                    pass
            assert failure.value.status == 401
            assert "MLFLOW_TRACKING_PASSWORD" in str(failure.value)


def _a_certificate() -> str:
    """Any CA that this platform trusts."""
    authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not authorities:
        pytest.skip("this platform has no CA")
    return ssl.DER_cert_to_PEM_cert(authorities[0])
