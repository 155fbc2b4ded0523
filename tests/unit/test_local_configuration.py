from __future__ import annotations

import json

from clustercockpit.config.configuration import parse
from local_stack import configuration as local


def test_the_local_stacks_document_is_a_good_one() -> None:
    document = local._first_document()
    configuration = parse(json.dumps(document).encode(), "config.json", {}.get)
    assert configuration.warnings == ()
