"""Several hosts as one training: how they find each other, and what happens when one is gone."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

# A host that is silent for so long is gone, and the others end. Waiting longer costs as much as the
# steps since the newest checkpoint, which are lost.
LOST_HOST_SECONDS = 40
LOST_HOST = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED): ")


@contextlib.contextmanager
def joined(args) -> Iterator[None]:
    """Connects this host with the others that the flags name; with none, it is the only one.

    When another host is lost inside the block, the program ends at once with code 75.
    """
    import jax

    patience = {"heartbeat_timeout_seconds": LOST_HOST_SECONDS}
    if args.coordinator:
        hosts = (args.coordinator, args.num_processes, args.process_id)
        jax.distributed.initialize(*hosts, **patience)
    elif args.distributed:
        jax.distributed.initialize(**patience)
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # The status of a failed exchange; JAX raises some of these as a ValueError.
        if jax.process_count() > 1 and LOST_HOST.match(str(error)):
            _end_without_the_others(str(error).splitlines()[0])
        raise


def _end_without_the_others(reason: str):
    """Ends at once: an orderly end would wait minutes for hosts that are gone."""
    print(
        f"error: another host stopped answering ({reason}); start all hosts again with the same "
        "command, which continues at the newest checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(75)  # "temporary failure", in the words of sysexits.h
