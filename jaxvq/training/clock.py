"""How fast a training is."""

import contextlib
import datetime
import time


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
