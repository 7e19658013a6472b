"""Which entities a caller may see and write to: those that they are a member of; an admin all."""

from __future__ import annotations

from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import Entity
from engine.sandbox.context import Call
from engine.sandbox.refusals import forbidden, not_found


def readable_entity(call: Call, name: str | None) -> Entity | None:
    """The entity of this name, or the caller's default; None if there is none or the caller is no member."""
    entity = accounts.entity_of_name(call.db, name or call.user.default_entity_name)
    return entity if entity is not None and _is_member(call, entity.number) else None


def writable_entity(call: Call, name: str | None) -> Entity:
    """The entity of this name, or the caller's default.

    Raises:
        Refusal: 404, a write never creates an entity; 403, the caller is no member.
    """
    wanted = name or call.user.default_entity_name
    entity = accounts.entity_of_name(call.db, wanted)
    if entity is None:
        raise not_found(f"entity {wanted} not found")
    require_member(call, entity.number)
    return entity


def require_member(call: Call, entity: int) -> None:
    """Check that the caller may write to the entity of this number.

    Raises:
        Refusal: 403.
    """
    if not _is_member(call, entity):
        name = accounts.entity_of_number(call.db, entity).name
        raise forbidden(f"permission denied: {call.user.username} may not write to entity {name}")


def _is_member(call: Call, entity: int) -> bool:
    return call.user.admin or bool(
        call.db.one("SELECT 1 FROM members WHERE entity = ? AND user = ?", (entity, call.user.number))
    )
