"""When a training is to save and end before its last step."""

import signal


class StopRequest:
    """SIGTERM on one host, or a preemption notice to any of several: all stop at the same step."""

    def __init__(self):
        self._signalled = False
        import jax

        # With several hosts JAX's coordination service owns SIGTERM and agrees on a common step.
        self._several = jax.process_count() > 1
        if not self._several:
            try:
                signal.signal(signal.SIGTERM, self._on_signal)
            except ValueError:  # not in the main thread: a notebook stops us in its own way
                pass

    def _on_signal(self, *_):
        self._signalled = True

    def requested(self, step: int) -> bool:
        """Whether to save after this step and end; every host gets the same answer."""
        if self._several:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._signalled
