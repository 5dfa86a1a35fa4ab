"""Runs a function over many inputs on all cores; results come back in the order of the inputs."""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

# Inputs a task: enough to make the cost of a task small, few enough to bound the memory.
CHUNK = 4


def map_ordered(function: Callable, inputs: Iterable, workers: int) -> Iterator:
    """`map(function, inputs)` on that many processes, holding at most a few results at a time.

    The results do not depend on `workers`; 1 (or 0) stays in this process. Function, inputs and
    results must pickle. Processes are spawned, so a script needs `if __name__ == "__main__"`.
    Raises ValueError if a process dies.
    """
    if workers <= 1:
        yield from map(function, inputs)
        return
    inputs = iter(inputs)
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    pending: deque = deque()
    try:
        for chunk in iter(lambda: list(itertools.islice(inputs, CHUNK)), []):
            pending.append(pool.submit(_call_each, function, chunk))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise ValueError(
            f"one of the {workers} worker processes died, probably for lack of memory; "
            "try fewer of them with --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _call_each(function: Callable, chunk: list) -> list:
    return [function(item) for item in chunk]


def _end_with_parent() -> None:
    """Ends this process when its parent is killed; without it, it would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
