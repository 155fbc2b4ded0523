"""Lambda entry of the api application: writes, tokens, look-ups by key."""

from mangum import Mangum

from clustercockpit.api.application import create_api
from clustercockpit.site import Site

handler = Mangum(create_api(Site()), lifespan="off")
