"""The speed of a training, and signs of life during long waits."""

import contextlib
import datetime
import logging
import threading
import time
from collections.abc import Iterator

from jaxvq import command

log = logging.getLogger("jaxvq")


@contextlib.contextmanager
def patience(what: str, every: float = 5.0) -> Iterator[None]:
    """Logs every few seconds that the block is still at it, and with --verbose the time it took."""
    started, over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(every):
            log.info("%s: %.0f s so far", what, time.monotonic() - started)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        with command.stage(what):
            yield
    finally:
        over.set()
        teller.join()


class Clock:
    """Steps per second since the last log line, without validation and compilation."""

    def __init__(self, total: int):
        self._total, self._rate = total, 0.0

    def begin(self, step: int) -> None:
        """Starts to count at the end of this step."""
        self._step, self._time = step, time.monotonic()

    def rates(self, step: int) -> dict[str, float]:
        """{"steps_per_second"}; {} before the first step."""
        now = time.monotonic()
        if step == self._step:
            return {}
        self._rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        return {"steps_per_second": self._rate}

    def line(self, step: int) -> str:
        """Steps per second and remaining time for a log line; "" before they are known."""
        if not self._rate:
            return ""
        left = datetime.timedelta(seconds=int((self._total - step) / self._rate))
        return f"  {self._rate:.2f} steps/s  ETA {left}"

    @contextlib.contextmanager
    def paused(self):
        """Does not count the time of the block."""
        before = time.monotonic()
        yield
        self._time += time.monotonic() - before
