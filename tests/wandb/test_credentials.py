"""The key of a server, found as the SDK finds it and never told to anybody else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.wandb.credentials import Credentials, find

KEYS = [letter * 40 for letter in "abcd"]
pytestmark = pytest.mark.anyio


async def no_exchange(jwt: str) -> tuple[str, float]:
    raise AssertionError("no token to exchange")


async def key_of(credentials: Credentials) -> str:
    scheme, _, encoded = (await credentials.authorization()).partition(" ")
    assert scheme == "Basic"
    user, _, key = base64.b64decode(encoded).decode().partition(":")
    assert user == "api"
    return key


@pytest.fixture
def netrc_file(tmp_path: Path) -> str:
    path = tmp_path / "netrc"
    path.write_text(
        f"machine localhost:8080 login user password {KEYS[2]}\n"
        f"machine api.wandb.ai login user password {KEYS[3]}\n"
    )
    return str(path)


async def test_an_explicit_key_wins_over_the_environment_and_that_over_netrc(netrc_file: str):
    environ = {"WANDB_API_KEY": KEYS[1], "NETRC": netrc_file}
    url = "http://localhost:8080"
    assert await key_of(find(url, KEYS[0], no_exchange, environ=environ)) == KEYS[0]
    assert await key_of(find(url, None, no_exchange, environ=environ)) == KEYS[1]
    assert await key_of(find(url, None, no_exchange, environ={"NETRC": netrc_file})) == KEYS[2]


async def test_the_renamed_public_service_takes_the_key_of_its_old_name(netrc_file: str):
    found = find("https://api.forge.coreweave.com", None, no_exchange, environ={"NETRC": netrc_file})
    assert await key_of(found) == KEYS[3]


def test_no_key_at_all_is_told_with_both_ways_out(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"WANDB_API_KEY.*machine host:1"):
        find("http://host:1", None, no_exchange, environ={"NETRC": str(tmp_path / "none")})


def test_a_broken_netrc_is_told_without_its_content(tmp_path: Path):
    path = tmp_path / "netrc"
    path.write_text("machine host login user password sEcReT oops\n")
    with pytest.raises(ConfigError, match="netrc") as refused:
        find("http://host", None, no_exchange, environ={"NETRC": str(path)})
    assert "sEcReT" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("key", ["short", "local-short", "x" * 39, "bad key with spaces" * 4])
def test_a_malformed_key_is_refused_and_not_shown(key: str):
    with pytest.raises(ConfigError, match="malformed") as refused:
        find("http://host", key, no_exchange, environ={})
    assert key not in str(refused.value)


@pytest.mark.parametrize("key", ["x" * 40, "local-" + "x" * 40, "head.body.signature"])
async def test_all_forms_of_keys_are_taken(key: str):
    credentials = find("http://host", key, no_exchange, environ={})
    assert await key_of(credentials) == key
    assert key not in repr(credentials)


async def test_an_identity_token_is_exchanged_once_while_its_access_token_lives(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text("the.jwt.itself\n")
    exchanged = []

    async def exchange(jwt: str) -> tuple[str, float]:
        exchanged.append(jwt)
        return f"access{len(exchanged)}", 3600.0 if len(exchanged) == 1 else 0.0

    credentials = find("http://host", None, exchange, environ={"WANDB_IDENTITY_TOKEN_FILE": str(path)})
    assert [await credentials.authorization() for _ in range(2)] == ["Bearer access1"] * 2
    assert exchanged == ["the.jwt.itself"]


def test_a_key_and_a_token_file_contradict():
    environ = {"WANDB_API_KEY": KEYS[0], "WANDB_IDENTITY_TOKEN_FILE": "/x"}
    with pytest.raises(ConfigError, match="both"):
        find("http://host", None, no_exchange, environ=environ)
