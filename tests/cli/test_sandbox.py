"""``engine sandbox`` says what is in the way of its start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.errors import ConfigError


def started(*arguments: str) -> Exception | None:
    outcome = CliRunner().invoke(app, ["sandbox", *arguments])
    error = outcome.exception
    assert error is None or isinstance(error, Exception)
    return error


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = started("--data-dir", str(tmp_path), "--port", str(port))
    assert isinstance(error, ConfigError)
    assert f"127.0.0.1:{port}" in str(error)
    assert "choose another" in str(error)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = started("--data-dir", str(tmp_path / "file" / "data"))
    assert isinstance(error, ConfigError)
    assert str(tmp_path / "file") in str(error)


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_what_is_no_port_is_refused(port: str) -> None:
    outcome = CliRunner().invoke(app, ["sandbox", "--port", port])
    assert outcome.exit_code == 2
    assert "--port" in outcome.output
