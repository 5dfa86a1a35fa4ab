"""How fast a training is, and signs of life where something takes long."""

import contextlib
import datetime
import logging
import threading
import time
from collections.abc import Iterator

log = logging.getLogger("jaxvq")


@contextlib.contextmanager
def patience(what: str, every: float = 5.0) -> Iterator[None]:
    """Logs every few seconds that the block is still at it."""
    started, over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(every):
            log.info("%s: %.0f s so far", what, time.monotonic() - started)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


class Clock:
    """Steps a second since the last log line, without evaluation and the step that compiles."""

    def __init__(self, total: int):
        self._total, self._rate = total, 0.0

    def begin(self, step: int) -> None:
        """Counts from the end of this step on."""
        self._step, self._time = step, time.monotonic()

    def rates(self, step: int) -> dict[str, float]:
        """{} before there is a step to count."""
        now = time.monotonic()
        if step == self._step:
            return {}
        self._rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        return {"steps_per_second": self._rate}

    def line(self, step: int) -> str:
        """Steps a second and the time that is left, for a log line; "" before they are known."""
        if not self._rate:
            return ""
        left = datetime.timedelta(seconds=int((self._total - step) / self._rate))
        return f"  {self._rate:.2f} steps/s  ETA {left}"

    @contextlib.contextmanager
    def paused(self):
        """Leaves out the time that the block takes."""
        before = time.monotonic()
        yield
        self._time += time.monotonic() - before
