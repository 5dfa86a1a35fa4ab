"""What loaders of clips and of single frames share: the rows of a host, and threads."""

from collections.abc import Callable, Iterator

PREFETCH = 2  # batches made ahead, which are large; the loop needs one


def host_rows(batch_size: int, host_count: int, host_index: int) -> range:
    """This host's rows of a batch. ValueError if the rows do not divide over the hosts."""
    if batch_size < 1 or batch_size % host_count:
        raise ValueError(f"batch_size={batch_size} does not divide over {host_count} hosts")
    if not 0 <= host_index < host_count:
        raise ValueError(f"host_index={host_index}: expected 0 to {host_count - 1}")
    size = batch_size // host_count
    return range(host_index * size, (host_index + 1) * size)


def in_threads(make: Callable, start: int, stop: int, threads: int = PREFETCH) -> Iterator:
    """make(start), …, make(stop - 1), which threads compute ahead; 0 threads do not."""
    if start >= stop:
        return
    grain = import_grain()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    yield from grain.MapDataset.range(start, stop).map(make).to_iter_dataset(options)


def import_grain():
    """The module grain. It reads absl's flags, which a program may not have parsed."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain
