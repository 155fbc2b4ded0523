"""Lambda entry of the api application: writes, tokens, look-ups by key."""

from mangum import Mangum

from clustercockpit.api.application import create_api
from clustercockpit.http.large_answers import LargeAnswers
from clustercockpit.site import Site

site = Site()
handler = Mangum(LargeAnswers(create_api(site), site), lifespan="off")
