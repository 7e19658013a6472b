"""Executes GraphQL documents against the sandbox's own schema.

Modules own their resolvers::

    @resolver("Query.project", "Query.model")
    def project(_root: None, call: Call, *, entity_name: str | None = None, …) -> Project | None:

Arguments arrive in snake_case, only those that the request gives; ``input`` arrives as ``given``, a dict
with the keys of the wire. A mutation that is a plain function runs in one transaction.
A field without a resolver is taken from its parent: a key of that name if it is a mapping, else the
attribute in snake_case; a callable one is called with the arguments. What is in the schema and has
neither is answered with an error that names it, never with null.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from graphql import (
    DocumentNode,
    ExecutionContext,
    ExecutionResult,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    execute,
    is_introspection_type,
    parse,
    validate,
)

from engine.sandbox.context import Call
from engine.sandbox.graph import scalars
from engine.sandbox.refusals import Refusal

log = logging.getLogger(__name__)

SCHEMA_DIR = Path(__file__).parent / "schema"
_ROOTS = ("Query", "Mutation")
_KEPT_DOCUMENTS = 512

_RESOLVERS: dict[str, Callable[..., Any]] = {}

F = TypeVar("F", bound=Callable[..., Any])


def resolver(*fields: str) -> Callable[[F], F]:
    """Register a function as the resolver of ``Type.field``, one or several."""

    def register(function: F) -> F:
        for field in fields:
            assert field not in _RESOLVERS, f"{field} has two resolvers"
            _RESOLVERS[field] = function
        return function

    return register


class Answer(NamedTuple):
    """An HTTP status and the body that goes with it."""

    status: int
    body: dict[str, Any]


class Leaves(list[Any]):
    """Many scalars, each of which is what the schema says: they are answered without a look at each."""


class _Execution(ExecutionContext):
    def complete_list_value(
        self, return_type: Any, field_nodes: Any, info: Any, path: Any, result: Any
    ) -> Any:
        if isinstance(result, Leaves):
            return result
        return super().complete_list_value(return_type, field_nodes, info, path, result)


class Executor:
    """The schema with all resolvers that are registered by now."""

    def __init__(self) -> None:
        self._schema = _bound_schema()
        self._prepare = functools.lru_cache(maxsize=_KEPT_DOCUMENTS)(self._parse_and_validate)

    def _parse_and_validate(self, query: str) -> tuple[DocumentNode | None, tuple[GraphQLError, ...]]:
        try:
            document = parse(query)
        except GraphQLError as error:
            return None, (error,)
        return document, tuple(validate(self._schema, document))

    async def execute(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Run one request body: ``query``, and perhaps ``variables`` and ``operationName``.

        An empty operation name counts as absent and variables that no operation declares are ignored,
        because the official SDK sends both.
        """
        query, variables = request.get("query"), request.get("variables")
        operation = request.get("operationName") or None
        if not isinstance(query, str) or not isinstance(variables, (dict, type(None))):
            return _refused(
                400, [GraphQLError("a request needs a query text and may have a variables object")]
            )
        document, faults = self._prepare(query)
        if document is None or faults:
            return _refused(400, list(faults))
        result = execute(
            self._schema,
            document,
            context_value=call,
            variable_values=variables,
            operation_name=operation,
            field_resolver=_from_parent,
            type_resolver=_type_name,
            execution_context_class=_Execution,
        )
        done = await result if inspect.isawaitable(result) else result
        assert isinstance(done, ExecutionResult)
        if done.errors:
            return _refused(_status(done.errors, started=done.data is not None), done.errors, done.data)
        return Answer(200, {"data": done.data})


def _bound_schema() -> GraphQLSchema:
    text = "\n".join(path.read_text() for path in sorted(SCHEMA_DIR.glob("*.graphql")))
    schema = build_schema(text)
    unused = set(_RESOLVERS)
    for name, declared in schema.type_map.items():
        if isinstance(declared, GraphQLScalarType):
            scalars.bind(declared)
        if not isinstance(declared, GraphQLObjectType) or is_introspection_type(declared):
            continue
        for field_name, field in declared.fields.items():
            for argument_name, argument in field.args.items():
                argument.out_name = "given" if argument_name == "input" else snake(argument_name)
            function = _RESOLVERS.get(f"{name}.{field_name}")
            unused.discard(f"{name}.{field_name}")
            if name in _ROOTS:
                field.resolve = _counted(f"{name}.{field_name}", _bind(function, name) or _from_parent)
            elif function is not None:
                field.resolve = _bind(function, name)
    assert not unused, f"no such fields in the schema: {sorted(unused)}"
    return schema


def _bind(function: Callable[..., Any] | None, type_name: str) -> Callable[..., Any] | None:
    if function is None:
        return None

    if type_name == "Mutation" and not inspect.iscoroutinefunction(function):

        def in_transaction(parent: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
            call: Call = info.context
            with call.db.transaction():
                return function(parent, call, **arguments)

        return in_transaction

    def resolve(parent: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        return function(parent, info.context, **arguments)

    return resolve


def _counted(name: str, resolve: Callable[..., Any]) -> Callable[..., Any]:
    def count(parent: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        call: Call = info.context
        call.counters[f"graphql {name}"] += 1
        return resolve(parent, info, **arguments)

    return count


def _from_parent(parent: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    missing = object()
    if isinstance(parent, Mapping):
        value = parent.get(info.field_name, missing)
    else:
        value = getattr(parent, snake(info.field_name), missing)
    if parent is None or value is missing:
        field = f"{info.parent_type.name}.{info.field_name}"
        raise Refusal(501, f"the sandbox does not implement {field}")
    return value(**arguments) if callable(value) else value


def _type_name(value: Any, _info: Any, _abstract: Any) -> str:
    name = value["__typename"] if isinstance(value, Mapping) else value.typename
    assert isinstance(name, str)
    return name


@functools.cache
def snake(name: str) -> str:
    """``historyLineCount`` → ``history_line_count``; ``runID`` → ``run_id``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])|(?<=[A-Z])([A-Z])(?=[a-z])", r"_\1\2", name).lower()


def _status(errors: list[GraphQLError], *, started: bool) -> int:
    for error in errors:
        cause = error.original_error
        if isinstance(cause, Refusal):
            return cause.status
        if cause is not None and not isinstance(cause, GraphQLError):
            log.error("resolving %s failed", error.path, exc_info=cause)
            return 500
    # Left are values that do not fit their type: in variables before anything ran, in results after.
    if started or any(error.path for error in errors):
        log.error("an answer does not fit the schema: %s", errors)
        return 500
    return 400


def _refused(status: int, errors: list[GraphQLError], data: dict[str, Any] | None = None) -> Answer:
    return Answer(status, {"errors": [error.formatted for error in errors], "data": data})
