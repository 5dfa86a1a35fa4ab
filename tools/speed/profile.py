"""Which operations of a compiled step take the time."""

import collections
import gzip
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path


def costly_operations(run: Callable[[], object], program: str, count: int) -> list[tuple]:
    """(milliseconds, name) of the most costly operations of one `run`, all threads added up.

    Operations with the same place in the network have one name, with N for the number of the block.
    """
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run())
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    places = dict(re.findall(r'^\s*(?:ROOT )?%?(\S+) = .*op_name="([^"]*)"', program, re.M))
    times = collections.Counter()
    for event in events:
        operation = event.get("args", {}).get("hlo_op")
        if operation and "dur" in event:
            place = places.get(operation, re.sub(r"[.\d]+$", "", operation))
            times[re.sub(r"_\d+", "_N", place)] += event["dur"] / 1000
    return [(time, name) for name, time in times.most_common(count)]
