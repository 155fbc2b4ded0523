"""Lambda entry of the query application: lists, series, GraphQL, the browser application."""

from mangum import Mangum

from clustercockpit.query.application import create_query
from clustercockpit.site import Site

handler = Mangum(create_query(Site()), lifespan="off")
