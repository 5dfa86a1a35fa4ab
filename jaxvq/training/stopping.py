"""Requests to save and end a training before its last step."""

import signal


class StopRequest:
    """SIGTERM, or a preemption notice to any of several hosts. All hosts stop at the same step."""

    def __init__(self):
        self._signalled = False
        import jax

        # With several hosts, JAX's coordination service handles SIGTERM and chooses the step.
        self._several = jax.process_count() > 1
        if not self._several:
            try:
                signal.signal(signal.SIGTERM, self._on_signal)
            except ValueError:  # not in the main thread, as in some notebooks
                pass

    def _on_signal(self, *_):
        self._signalled = True

    def requested(self, step: int) -> bool:
        """Whether to save after this step and end. All hosts get the same answer."""
        if self._several:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._signalled
