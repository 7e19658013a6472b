"""Where runs of W&B are: server, entity and project.

wandb:entity/project                    on the default server
wandb:entity                            all its projects
wandb:                                  the caller's own entity
wandb:https://host[:port]/entity[/project]
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from engine.errors import ConfigError
from engine.wandb.jsontext import without_passwords
from engine.wandb.names import is_project_name

DEFAULT_BASE_URL = "https://api.wandb.ai"

_APP_HOSTS = {"wandb.ai", "www.wandb.ai", "app.wandb.ai"}
_FORGE = "forge.coreweave.com"


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed URI: no ``entity`` means the caller's own, no ``project`` all of them."""

    base_url: str
    entity: str | None
    project: str | None

    @property
    def uri(self) -> str:
        path = "/".join(part for part in (self.entity, self.project) if part)
        return f"wandb:{path}" if self.base_url == DEFAULT_BASE_URL else f"wandb:{self.base_url}/{path}"


def parse(rest: str, environ: Mapping[str, str] | None = None) -> Location:
    """Parse what follows ``wandb:``.

    Raises:
        ConfigError: it has more parts than an entity and a project, or one that W&B does not take.
    """
    environ = os.environ if environ is None else environ
    if rest.startswith(("http://", "https://")):
        split = _address(rest)
        base, path = api_url(f"{split.scheme}://{split.netloc}"), unquote(split.path)
    else:
        base, path = default_base_url(environ), rest
    entity, _, project = path.strip("/").partition("/")
    if project and not is_project_name(project):
        raise ConfigError(
            f"{project!r} cannot be a W&B project",
            remedy="use at most 128 characters and none of / \\ # ? % :",
        )
    return Location(base, entity or None, project or None)


def api_url(url: str) -> str:
    """The address of the API, given that or the address that a browser shows.

    Raises:
        ConfigError: it is no address of a server.
    """
    split = _address(url.rstrip("/"))
    if split.hostname in _APP_HOSTS:
        return "https://api.wandb.ai"
    if split.hostname == _FORGE:
        return f"https://api.{_FORGE}"
    return url.rstrip("/")


def _address(url: str) -> SplitResult:
    try:
        split = urlsplit(url)
        is_address = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:  # a port or a host that cannot be
        is_address = False
    if not is_address:
        raise ConfigError(
            f"{without_passwords(url)!r} is no address of a W&B server",
            remedy="write for example https://wandb.example.com",
        )
    if split.username is not None or split.password is not None:
        raise ConfigError(
            "the address of a W&B server takes no credentials",
            remedy="set WANDB_API_KEY or use netrc instead",
        )
    return split


def default_base_url(environ: Mapping[str, str]) -> str:
    """As the SDK finds it: ``WANDB_BASE_URL``, then its settings files, then the public service."""
    if url := environ.get("WANDB_BASE_URL"):
        return api_url(url)
    settings = configparser.ConfigParser(interpolation=None)
    home = Path(environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    try:
        settings.read([home / "settings", Path("wandb") / "settings"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"the W&B settings file cannot be read: {error}", exc=error) from error
    return api_url(settings.get("default", "base_url", fallback=DEFAULT_BASE_URL))
