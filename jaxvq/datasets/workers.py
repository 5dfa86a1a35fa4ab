"""Runs a function over many inputs on all cores; results come back in the order of the inputs."""

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

# Inputs a task: enough to make the cost of a task small, few enough to bound the memory.
CHUNK = 4

_function: Callable | None = None  # in a worker: what it was started for


def map_ordered(
    function: Callable, inputs: Iterable, num_workers: int, *, chunk: int = CHUNK
) -> Iterator:
    """`map(function, inputs)` on that many processes, holding at most a few results at a time.

    chunk: how many inputs a process takes at once. The results do not depend on `num_workers`; 1
    (or 0) stays in this process. Function, inputs and results must pickle. Processes are spawned,
    so a script needs `if __name__ == "__main__"`. Where the iteration ends early they end at once.
    Raises ValueError if a process dies.
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
        end.close()  # whatever it is, nobody wants the rest
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
    """Keeps the function, and ends this process when its parent is killed, or closes `ending`.

    Without the former it would wait for work for ever: it holds both ends of its queue.
    """
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel, ending])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _call_each(inputs: list) -> list:
    return [_function(item) for item in inputs]
