"""Runs a function over many inputs on all cores. Results have the order of the inputs."""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

CHUNK = 4  # inputs per task: bounds both the overhead of tasks and the memory

_function: Callable | None = None  # what a worker process runs


def map_ordered(
    function: Callable, inputs: Iterable, num_workers: int, *, chunk: int = CHUNK
) -> Iterator:
    """`map(function, inputs)` on `num_workers` processes, with few results in memory at a time.

    chunk: inputs that a process takes at once. One worker, or none, is this process. Function,
    inputs and results must pickle, and scripts need `if __name__ == "__main__"`, because processes
    are spawned. They end as soon as the iteration does. Raises ValueError if a process dies.
    """
    if num_workers <= 1:
        yield from map(function, inputs)
        return
    inputs = iter(inputs)
    context = multiprocessing.get_context("spawn")
    ending, end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        num_workers, context, initializer=_start, initargs=(function, ending)
    )
    pending: deque = deque()
    try:
        for several in iter(lambda: list(itertools.islice(inputs, chunk)), []):
            pending.append(pool.submit(_call_each, several))
            if len(pending) > 2 * num_workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BaseException as error:
        end.close()  # nobody needs the other results
        if not isinstance(error, BrokenProcessPool):
            raise
        raise ValueError(
            f"one of the {num_workers} worker processes died, probably for lack of memory; "
            "try fewer of them with --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        end.close()


def _start(function: Callable, ending: multiprocessing.connection.Connection) -> None:
    """Keeps the function. Ends this process when its parent is killed or closes `ending`.

    Without a parent, the process would wait for work forever: it holds both ends of its queue.
    """
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel, ending])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _call_each(inputs: list) -> list:
    return [_function(item) for item in inputs]
