"""Several hosts in one training: they find each other, and end together if one is lost."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

LOST_HOST_SECONDS = 40  # after so much silence of a host, the others end
LOST_HOST = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED): ")


@contextlib.contextmanager
def joined(args) -> Iterator[None]:
    """Connects this host with the other hosts of the flags, if there are any.

    If another host is lost inside the block, the program ends at once with code 75.
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
        # A failed exchange, which JAX sometimes raises as a ValueError.
        if jax.process_count() > 1 and LOST_HOST.match(str(error)):
            _end_without_the_others(str(error).splitlines()[0])
        raise


def _end_without_the_others(reason: str):
    """Ends at once: an orderly end would wait minutes for lost hosts."""
    print(
        f"error: another host stopped answering ({reason}); start all hosts again with the same "
        "command, which continues at the newest checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(75)  # "temporary failure", in the words of sysexits.h
