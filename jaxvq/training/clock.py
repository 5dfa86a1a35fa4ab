"""The speed of a training."""

import contextlib
import datetime
import time


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
