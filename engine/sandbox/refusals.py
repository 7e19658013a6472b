"""How the sandbox says no."""

from __future__ import annotations


class Refusal(Exception):
    """A request that W&B would refuse, too: an HTTP status and one sentence for the person who reads it.

    Any layer may raise it. GraphQL answers carry it as an entry of ``errors`` with the status on the
    response; plain routes answer ``{"errors": [{"message": …}]}``.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_request(message: str) -> Refusal:
    """400: the request itself is wrong and will never succeed."""
    return Refusal(400, message)


def forbidden(message: str) -> Refusal:
    """403: the key is good, but not for this."""
    return Refusal(403, message)


def not_found(message: str) -> Refusal:
    """404: there is no such object, or none that the caller may see."""
    return Refusal(404, message)


def conflict(message: str) -> Refusal:
    """409: the object's present state stands against it."""
    return Refusal(409, message)
