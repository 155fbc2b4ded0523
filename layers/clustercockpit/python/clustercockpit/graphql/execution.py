"""From a request's body to the answer's: parse, limit, validate, execute, and say what went wrong.

`spec/graphql-api.md` chapter 1. The executor is graphql-core's; documents that were sent before are neither
parsed nor validated again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import orjson
from ariadne import make_executable_schema
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    ValidationRule,
    execute_sync,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)
from graphql.execution import get_variable_values

from clustercockpit.errors import ClusterCockpitError
from clustercockpit.graphql import clusters, jobs, limits, metrics, scalars
from clustercockpit.graphql.context import Context, Info
from clustercockpit.graphql.questions import snake
from clustercockpit.graphql.roots import query
from clustercockpit.http.answers import told

log = logging.getLogger(__name__)

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
INTERNAL: Final = "internal system error"
_VARIABLE: Final = re.compile(r"[Vv]ariable '?\$(\w+)")


class NoIntrospection(ValidationRule):
    """The schema is a file of the project; it is not asked for here."""

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        if node.name.value in {"__schema", "__type"}:
            self.report_error(GraphQLError("introspection disabled", node))


RULES: Final = (*specified_rules, NoIntrospection)


@dataclass(frozen=True, slots=True)
class Answer:
    """`refused`: the operation was not executed because it is not a good one."""

    body: bytes
    refused: bool = False


@lru_cache(maxsize=1)
def schema() -> GraphQLSchema:
    definitions = (Path(__file__).parent / "schema.graphql").read_text()
    made = make_executable_schema(
        definitions, query, *jobs.BINDABLES, *clusters.BINDABLES, *metrics.BINDABLES
    )
    scalars.install(made)
    return made


def answer(
    context: Context,
    source: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> Answer:
    """Answer one operation. Nothing that a caller can send raises."""
    if len(source) > limits.LENGTH:
        # Before it is looked up: what was sent before is kept
        said = f"the document has more than {limits.LENGTH} characters"
        return _refusal([{"message": said, **_code(PARSE_FAILED)}])
    known = _prepared(source, operation_name)
    if isinstance(known, _Refused):
        return _refusal(known.errors)
    operation = known.operation
    given = get_variable_values(schema(), operation.variable_definitions or (), dict(variables or {}))
    coerced = getattr(given, "errors", None) or (given if isinstance(given, list) else None)
    if coerced:
        return _refusal([_variable_error(error) for error in coerced])
    result = execute_sync(
        schema(),
        known.document,
        context_value=context,
        variable_values=dict(variables or {}),
        operation_name=operation_name,
        field_resolver=resolve_attribute,
    )
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [_executed(error) for error in result.errors]
    body["data"] = result.data
    return Answer(orjson.dumps(body))


# Names that do not follow the rule
_ATTRIBUTES: dict[str, str] = {"numHWThreads": "num_hwthreads", "SMT": "smt"}


def resolve_attribute(source: Any, info: Info, **_arguments: Any) -> Any:
    """The field of a value: a key of a dict, or an attribute in snake case."""
    name = info.field_name
    if isinstance(source, dict):
        return source.get(name)
    attribute = _ATTRIBUTES.get(name)
    if attribute is None:
        attribute = _ATTRIBUTES[name] = snake(name)
    return getattr(source, attribute, None)


# Preparing


@dataclass(frozen=True, slots=True)
class _Prepared:
    document: DocumentNode
    operation: OperationDefinitionNode


@dataclass(frozen=True, slots=True)
class _Refused:
    errors: list[dict[str, Any]]


@lru_cache(maxsize=256)
def _prepared(source: str, operation_name: str | None) -> _Prepared | _Refused:
    try:
        document = parse(source, max_tokens=limits.TOKENS)
    except GraphQLError as error:
        return _Refused([_document_error(error, PARSE_FAILED)])
    except RecursionError:
        return _Refused([{"message": "the document is nested too deeply", **_code(PARSE_FAILED)}])
    operation = get_operation_ast(document, operation_name)
    if operation is None:
        operations = [it for it in document.definitions if isinstance(it, OperationDefinitionNode)]
        if not operations:
            message = "no operation provided"
        elif operation_name:
            message = f"operation {operation_name[:60]} not found"
        else:
            message = "operation name is required: the document has several"
        return _Refused([{"message": message, **_code(VALIDATION_FAILED)}])
    try:
        limits.check(operation, document)
        found = validate(schema(), document, RULES, max_errors=20, hide_suggestions=True)
    except GraphQLError as error:
        return _Refused([{"message": error.message, "extensions": error.extensions}])
    except RecursionError:
        return _Refused([{"message": "the document is nested too deeply", **_code(VALIDATION_FAILED)}])
    if found:
        return _Refused([_document_error(error, VALIDATION_FAILED) for error in found])
    return _Prepared(document, operation)


# Errors


def _code(code: str) -> dict[str, Any]:
    return {"extensions": {"code": code}}


def _document_error(error: GraphQLError, code: str) -> dict[str, Any]:
    locations = [{"line": place.line, "column": place.column} for place in error.locations or ()]
    return {"message": error.message, **({"locations": locations} if locations else {}), **_code(code)}


def _variable_error(error: GraphQLError) -> dict[str, Any]:
    name = _VARIABLE.search(error.message)
    return {
        "message": error.message,
        **({"path": ["variable", name[1]]} if name else {}),
        **_code(VALIDATION_FAILED),
    }


def _executed(error: GraphQLError) -> dict[str, Any]:
    """What a resolver said in the domain's words; of anything else only that it happened."""
    cause = error.original_error
    if isinstance(cause, ClusterCockpitError):
        message = told(cause)
    elif cause is None or isinstance(cause, GraphQLError):
        message = error.message
    else:
        log.error("resolver of %s failed", error.path, exc_info=cause)
        message = INTERNAL
    return {"message": message, **({"path": list(error.path)} if error.path else {})}


def _refusal(errors: list[dict[str, Any]]) -> Answer:
    limited = any(error.get("extensions", {}).get("code") == limits.CODE for error in errors)
    return Answer(orjson.dumps({"errors": errors, "data": None}), refused=not limited)
