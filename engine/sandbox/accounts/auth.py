"""Who asks: HTTP Basic with an API key as the password; W&B ignores the user part."""

from __future__ import annotations

import base64
import binascii

from aiohttp import web

from engine.sandbox.accounts.accounts import User, user_of_key
from engine.sandbox.database import Database
from engine.sandbox.refusals import Refusal


def authenticate(db: Database, request: web.Request) -> User:
    """The owner of the key that a request carries.

    Raises:
        Refusal: 401, there is no key or nobody has it.
    """
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise Refusal(401, "user is not logged in: send the API key as the password of HTTP Basic")
    try:
        key = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refusal(401, "the Authorization header is not base64") from error
    user = user_of_key(db, key)
    if user is None:
        raise Refusal(401, "invalid API key")
    return user
