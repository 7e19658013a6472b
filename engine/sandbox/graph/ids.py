"""Opaque ids: base64 of ``Type:number``.

They must be true base64, because clients decode artifact and view ids to write them in hex into
``wandb-artifact://`` references and into report URLs.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import string

from engine.sandbox.refusals import not_found

_NAME_ALPHABET = string.ascii_lowercase + string.digits


def encode(kind: str, number: int) -> str:
    """``encode("Run", 4)`` is ``"UnVuOjQ="``."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def decode(kind: str, text: str) -> int:
    """The number behind an id of this kind.

    Raises:
        Refusal: 404, it is no id of this kind.
    """
    try:
        found, _, number = base64.b64decode(text, validate=True).decode().partition(":")
        if found == kind:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise not_found(f"{text!r} is not the id of a {kind}")


def short_name() -> str:
    """Eight random letters and digits, as W&B names runs and sweeps."""
    return "".join(secrets.choice(_NAME_ALPHABET) for _ in range(8))
