"""Users, entities and keys as GraphQL shows them."""

from __future__ import annotations

from typing import Any

from engine.sandbox.accounts import accounts, entity_access
from engine.sandbox.accounts.accounts import Entity, User
from engine.sandbox.context import Call
from engine.sandbox.graph import ids
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.refusals import bad_request, conflict, forbidden, not_found


@resolver("Query.viewer")
def viewer(_root: None, call: Call, *, entity_name: str | None = None) -> User:  # noqa: ARG001
    return call.user


@resolver("Query.user")
def user(_root: None, call: Call, *, id: str | None = None, user_name: str | None = None) -> User | None:  # noqa: A002
    if id is not None:
        number = ids.decode("User", id)
        return next((u for u in accounts.all_users(call.db) if u.number == number), None)
    return accounts.user_of_name(call.db, user_name) if user_name else call.user


@resolver("Query.users")
def users(
    _root: None,
    call: Call,
    *,
    query: str | None = None,
    usernames: list[str] | None = None,
    ids: list[str] | None = None,
    **page: Any,
) -> Connection:
    def asked(user: User) -> bool:
        return (
            (query is None or query in (user.username, user.email))
            and (usernames is None or user.username in usernames)
            and (ids is None or user.id in ids)
        )

    found = [user for user in accounts.all_users(call.db) if asked(user)]
    return connection(found, lambda user: [user.number], **page)


@resolver("Query.entity")
def entity(_root: None, call: Call, *, name: str | None = None, login: bool | None = None) -> Entity | None:  # noqa: ARG001
    return entity_access.readable_entity(call, name)


@resolver("Query.entities")
def entities(_root: None, call: Call, *, order: str | None = None, **page: Any) -> Connection:  # noqa: ARG001
    return connection(accounts.entities_of(call.db, call.user), lambda entity: [entity.number], **page)


# --- User


@resolver("User.accountType")
def account_type(_user: User, _call: Call) -> str:
    return "USER"


@resolver("User.flags")
def flags(_user: User, _call: Call) -> str:
    return "{}"


@resolver("User.entity")
def user_entity_name(user: User, _call: Call) -> str:
    return user.default_entity_name


@resolver("User.defaultEntity")
def default_entity(user: User, call: Call) -> Entity | None:
    return accounts.entity_of_name(call.db, user.default_entity_name)


@resolver("User.userEntity")
def user_entity(user: User, call: Call) -> Entity | None:
    return accounts.entity_of_name(call.db, user.username)


@resolver("User.teams")
def teams(user: User, call: Call, **page: Any) -> Connection:
    found = [entity for entity in accounts.entities_of(call.db, user) if entity.is_team]
    return connection(found, lambda entity: [entity.name], **page)


@resolver("User.photoUrl", "User.deletedAt", "User.limits", "User.apiKey", "Entity.photoUrl", "Entity.limits")
def absent(_thing: User | Entity, _call: Call) -> None:
    """Nothing of the kind is kept; an API key is told once, when it is made."""


@resolver("User.apiKeys")
def api_keys(user: User, call: Call, **page: Any) -> Connection:
    if user.number != call.user.number and not call.user.admin:
        return connection([], lambda _key: [], **page)
    keys = call.db.all("SELECT * FROM api_keys WHERE user = ?", (user.number,))
    return connection(
        keys,
        lambda key: [key["number"]],
        node=lambda key: {
            "id": ids.encode("ApiKey", key["number"]),
            "name": key["hint"],
            "description": key["description"],
            "user": user,
        },
        **page,
    )


@resolver("Mutation.generateApiKey")
def generate_api_key(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    key = accounts.new_key()
    number = accounts.add_key(call.db, call.user.number, key, given.get("description"))
    # As with W&B, this is the one moment at which the key can be seen: in the name.
    made = {
        "id": ids.encode("ApiKey", number),
        "name": key,
        "description": given.get("description"),
        "user": call.user,
    }
    return {**_echo(given), "apiKey": made}


@resolver("Mutation.deleteApiKey")
def delete_api_key(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    number = ids.decode("ApiKey", given.get("id") or "")
    gone = call.db.execute("DELETE FROM api_keys WHERE number = ? AND user = ?", (number, call.user.number))
    if not gone:
        raise not_found("you have no such API key")
    return {**_echo(given), "success": True}


# --- Entity


@resolver("Entity.members")
def members(entity: Entity, call: Call) -> list[dict[str, Any]]:
    return [
        {
            "accountType": "MEMBER",
            "admin": user.admin,
            "apiKey": None,
            "email": user.email,
            "id": user.id,
            "name": user.name,
            "pending": False,
            "photoUrl": None,
            "role": "admin" if user.admin else "member",
            "username": user.username,
        }
        for user in accounts.members_of(call.db, entity)
    ]


@resolver("Entity.memberCount")
def member_count(entity: Entity, call: Call) -> int:
    return len(accounts.members_of(call.db, entity))


@resolver("Entity.user")
def entity_user(entity: Entity, call: Call) -> User | None:
    return None if entity.is_team else accounts.user_of_name(call.db, entity.name)


@resolver("Entity.defaultAccess")
def default_access(_entity: Entity, _call: Call) -> str:
    return "PRIVATE"


@resolver("Entity.storageBytes")
def storage_bytes(_entity: Entity, _call: Call) -> int:
    return 0


@resolver("Entity.protectedAliases")
def protected_aliases(_entity: Entity, _call: Call, *, admin_type: str | None = None) -> list[str]:  # noqa: ARG001
    return []


@resolver("Entity.codeSavingEnabled", "Entity.isPaid", "Entity.privateOnly", "Entity.xxhashDigestsEnabled")
def switched_off(_entity: Entity, _call: Call) -> bool:
    return False


@resolver("Entity.available", "Entity.readOnly", "Entity.readOnlyAdmin")
def never(_entity: Entity, _call: Call) -> bool:
    return False


@resolver("Mutation.createTeam")
def create_team(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    name = given["teamName"]
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise bad_request(f"invalid team name {name!r}")
    if accounts.entity_of_name(call.db, name) is not None:
        raise conflict(f"entity {name} already exists")
    admin = given.get("teamAdminUserName")
    founder = accounts.user_of_name(call.db, admin) if admin else call.user
    if founder is None:
        raise not_found(f"user {admin} not found")
    if founder.number != call.user.number and not call.user.admin:
        raise forbidden("permission denied: only an admin may make a team for somebody else")
    team = accounts.ensure_entity(call.db, name, is_team=True)
    accounts.join(call.db, team, founder)
    return {**_echo(given), "entity": team}


def _echo(given: dict[str, Any]) -> dict[str, Any]:
    return {"clientMutationId": given.get("clientMutationId")}
