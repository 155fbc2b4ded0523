"""`python -m tests.soak.fuzz lines|questions SECONDS`: inputs that nobody thought of.

`lines`: the compiled and the plain path take the same bytes and must end the same. `questions`: whatever is
asked, the answer is an answer or a refusal in the domain's words. Guided by coverage where Atheris is
installed; else Hypothesis makes the inputs, and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None

SEEDS: dict[str, list[bytes]] = {
    "lines": [
        b"m,cluster=a,hostname=h1,type=hwthread,type-id=1 value=1.25 1700000000\n",
        b"m,cluster=b,hostname=h2,type=node value=-3i 1700000000000\nm value=1\n",
        b"metric_with_a_long_name,cluster=a,host=h1,stype=x,stype-id=3 value=1e-7,value=2u 170000000000000\n",
        b'# c\n\nonly,cluster=z,hostname=h\\ 1 value="x",a=t 17\r\n',
    ],
    "questions": [
        b'{"cluster":"c","from":1699990000,"to":1700000000,"queries":[{"metric":"m","host":"h1"}]}',
        b'{"cluster":"c","from":0,"to":1700000000,"with-stats":true,"with-data":false,"with-padding":true,'
        b'"queries":[{"metric":"m","host":"h1","type":"hwthread","type-ids":["0","1"],"aggreg":true,'
        b'"resolution":600,"subtype":"x","subtype-ids":["1"],"scale-by":2}]}',
        b'{"cluster":"c","from":1,"to":2,"for-all-nodes":["m"],"queries":[]}',
        b'{"cluster":"c","from":1,"to":1700000000,"points":100,"queries":[{"metric":"m","scope":"socket",'
        b'"hosts":["h1"],"type":"hwthread","groups":[{"id":"0","ids":["0","1"]}]}]}',
    ],
}


def lines() -> Callable[[bytes], None]:
    from tests.unit.test_store_kernel import agree, pair

    from cc_metric_store import kernels

    module = kernels.load(os.environ.get("NUMBA_CACHE_DIR", ""))
    state: dict[str, Any] = {"left": 0}

    def check(content: bytes) -> None:
        if state["left"] == 0:  # new engines now and then: what one input leaves behind meets the next
            state["pair"], state["left"] = pair(module, rows_per_host=50, hosts=20), 200
            state["taken"] = []
        state["left"] -= 1
        state["taken"].append(content)
        plain, fast = state["pair"]
        try:
            agree(plain, fast, content, "a" if len(content) % 2 else "")
        except Exception:
            # Libfuzzer keeps the last input only
            with tempfile.NamedTemporaryFile(prefix="fuzz-lines-", suffix=".json", delete=False) as file:
                file.write(json.dumps([c.decode("latin-1") for c in state["taken"]]).encode())
            print(f"the engines took, in this order: {file.name}", flush=True)
            raise

    return check


def questions() -> Callable[[bytes], None]:
    from cc_metric_store.catalog import MetricDefinition, StaticCatalog
    from cc_metric_store.engine import Engine
    from cc_metric_store.frames import FrameRequest, FrameService
    from cc_metric_store.query import QueryRequest, QueryService
    from cc_metric_store.reading import Reader
    from clustercockpit.errors import ClusterCockpitError

    now = 1_700_000_000
    engine = Engine(StaticCatalog({"*": {"m": MetricDefinition("m", 60, "sum")}}), lambda: float(now))
    for t in range(now - 9000, now, 60):
        engine.write(
            b"\n".join(
                b"m,cluster=c,hostname=h1,type=hwthread,type-id=%d value=%d.5 %d" % (k, k, t)
                for k in range(4)
            )
        )
    engine.seal_finished()
    queries, frames = QueryService(Reader(engine)), FrameService(Reader(engine))

    def check(content: bytes) -> None:
        began = time.monotonic()
        with contextlib.suppress(ClusterCockpitError):
            queries.answer(QueryRequest.parse(content, 600))
        with contextlib.suppress(ClusterCockpitError):
            frames.answer(FrameRequest.parse(content))
        assert time.monotonic() - began < 5, "the answer took more than five seconds"

    return check


TARGETS = {"lines": lines, "questions": questions}


def main() -> int:
    name, seconds = sys.argv[1], int(sys.argv[2])
    began = time.monotonic()
    if atheris is None:
        done = with_hypothesis(TARGETS[name](), SEEDS[name], seconds)
        print(f"fuzz {name}: without Atheris, so not guided by coverage: {done} inputs of Hypothesis "
              f"in {time.monotonic() - began:.0f} s, no failure")  # fmt: skip
        return 0
    if name == "lines":
        # The kernel's code is compiled from its bytecode, which must be its own
        from cc_metric_store import ingest_kernel, text_kernel  # noqa: F401
    with atheris.instrument_imports(include=["cc_metric_store"]):
        check = TARGETS[name]()
    corpus = Path(tempfile.mkdtemp(prefix=f"corpus-{name}-"))
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-rss_limit_mb=2000", "-timeout=20", "-max_len=2000",
         "-print_final_stats=1", str(corpus)],
        check,
    )  # fmt: skip
    atheris.Fuzz()
    return 0


def with_hypothesis(check: Callable[[bytes], None], seeds: list[bytes], seconds: int) -> int:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    done = 0
    pieces = sorted({seed[i : i + n] for seed in seeds for n in (1, 3, 9, 27) for i in range(len(seed) - n)})
    inputs = st.one_of(
        st.binary(max_size=300),
        st.lists(st.sampled_from(pieces), max_size=40).map(b"".join),
        st.tuples(
            st.sampled_from(seeds), st.integers(0, 400), st.integers(0, 30), st.binary(max_size=12)
        ).map(lambda x: x[0][: x[1]] + x[3] + x[0][x[1] + x[2] :]),
    )
    end = time.monotonic() + seconds
    while time.monotonic() < end:

        @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(inputs)
        def one(content: bytes) -> None:
            nonlocal done
            done += 1
            check(content)

        one()
    return done


if __name__ == "__main__":
    sys.exit(main())
