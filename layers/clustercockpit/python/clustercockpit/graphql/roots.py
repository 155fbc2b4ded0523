"""The root type, to which every room of resolvers adds its fields."""

from ariadne import QueryType

query = QueryType()
