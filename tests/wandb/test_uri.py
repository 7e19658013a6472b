"""Where a W&B URI leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.wandb.uri import Location, parse

CLOUD = "https://api.wandb.ai"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


@pytest.mark.parametrize(
    ("rest", "location"),
    [
        ("team/project", Location(CLOUD, "team", "project")),
        ("team", Location(CLOUD, "team", None)),
        ("team/", Location(CLOUD, "team", None)),
        ("", Location(CLOUD, None, None)),
        ("http://localhost:8080/team/my%20project", Location("http://localhost:8080", "team", "my project")),
        ("https://wandb.corp.com/team", Location("https://wandb.corp.com", "team", None)),
        ("https://wandb.ai/team/project", Location(CLOUD, "team", "project")),
    ],
)
def test_a_uri_names_server_entity_and_project(rest: str, location: Location):
    assert parse(rest, {}) == location


@pytest.mark.parametrize(
    "rest",
    [
        "team/project/more",
        "team/a#b",
        "https:///team",
        "https://u:secret@host/team",
        "https://u:secret@host:99999/team",
        "http://[::1/team",
    ],
)
def test_what_cannot_be_a_destination_is_refused(rest: str):
    with pytest.raises(ConfigError) as refused:
        parse(rest, {})
    assert "secret" not in str(refused.value)


def test_the_server_is_found_as_the_sdk_finds_it(tmp_path: Path):
    settings = tmp_path / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = http://from-login:1\n")
    assert parse("team", {}).base_url == "http://from-login:1"
    assert parse("team", {"WANDB_BASE_URL": "http://from-env:2/"}).base_url == "http://from-env:2"
    assert parse("http://explicit:3/team", {"WANDB_BASE_URL": "http://env"}).base_url == "http://explicit:3"


@pytest.mark.parametrize(
    "url", ["host", "ftp://host", "http://", "http://host:99999", "http://u:secret@host"]
)
def test_what_is_no_address_of_a_server_is_refused(url: str):
    with pytest.raises(ConfigError) as refused:
        parse("team", {"WANDB_BASE_URL": url})
    assert "secret" not in str(refused.value)


def test_a_location_is_written_as_it_was_read():
    for text in ("wandb:team/project", "wandb:team", "wandb:http://localhost:8080/team/project"):
        assert parse(text.removeprefix("wandb:"), {}).uri == text
