"""Lambda entry of the index builder, every minute."""

from typing import Any

from clustercockpit.index import builder
from clustercockpit.site import Site

site = Site()


def handler(_event: dict[str, Any], context: Any) -> None:
    builder.run_measured(site, context.function_name)
