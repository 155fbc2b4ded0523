"""Lambda entry of everything that reads: lists, series, GraphQL, the browser application."""

from mangum import Mangum

from clustercockpit.http.large_answers import LargeAnswers
from clustercockpit.server import create_reader
from clustercockpit.site import Site

site = Site()
handler = Mangum(LargeAnswers(create_reader(site), site), lifespan="off")
