"""Lambda entry of the query application: lists, series, GraphQL, the browser application."""

from mangum import Mangum

from clustercockpit.http.large_answers import LargeAnswers
from clustercockpit.query.application import create_query
from clustercockpit.site import Site

site = Site()
handler = Mangum(LargeAnswers(create_query(site), site), lifespan="off")
