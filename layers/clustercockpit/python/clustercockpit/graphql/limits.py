"""How much one operation may ask for. The cost of a selection is the sum over its fields of one plus the
cost of what is selected in them, with fragments written out (`spec/graphql-api.md` 1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

CODE: Final = "COMPLEXITY_LIMIT_EXCEEDED"
COMPLEXITY: Final = 5000
DEPTH: Final = 20
"""The reference has none; the deepest operation of its front end has 7."""
TOKENS: Final = 20_000
LENGTH: Final = 200_000


def check(operation: OperationDefinitionNode, document: DocumentNode) -> None:
    """Raises GraphQLError over a limit. Takes time linear in the document, however it nests fragments."""
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    cost, depth = _measure(operation.selection_set, fragments, {}, frozenset())
    if cost > COMPLEXITY:
        raise GraphQLError(
            f"operation has complexity {cost}, which exceeds the limit of {COMPLEXITY}",
            extensions={"code": CODE},
        )
    if depth > DEPTH:
        raise GraphQLError(
            f"operation is {depth} levels deep, which exceeds the limit of {DEPTH}",
            extensions={"code": CODE},
        )


def _measure(
    selections: SelectionSetNode | None,
    fragments: Mapping[str, FragmentDefinitionNode],
    known: dict[str, tuple[int, int]],
    open_: frozenset[str],
) -> tuple[int, int]:
    """Cost and depth. `known` holds fragments measured, `open_` those being measured: a cycle costs nothing
    here, validation refuses it."""
    cost = depth = 0
    for selection in selections.selections if selections is not None else ():
        if isinstance(selection, FieldNode):
            if selection.name.value == "__schema":
                continue
            below, levels = _measure(selection.selection_set, fragments, known, open_)
            cost, depth = cost + 1 + below, max(depth, levels + 1)
        elif isinstance(selection, InlineFragmentNode):
            below, levels = _measure(selection.selection_set, fragments, known, open_)
            cost, depth = cost + below, max(depth, levels)
        elif isinstance(selection, FragmentSpreadNode):
            name = selection.name.value
            if name in open_ or name not in fragments:
                continue
            if name not in known:
                known[name] = _measure(fragments[name].selection_set, fragments, known, open_ | {name})
            cost, depth = cost + known[name][0], max(depth, known[name][1])
    return cost, depth
