import numpy as np
import pytest
from array_record.python import array_record_module

from jaxvq.datasets import direct

# Around the sizes where a chunk's header, a record's begin or its end meets the border of a block.
BORDERS = [size for end in (65536, 131072) for size in range(end - 200, end + 8, 1)]


def write(path, records, options="group_size:1,uncompressed"):
    writer = array_record_module.ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()
    return str(path)


@pytest.mark.parametrize("sizes", [BORDERS, [5] * 9000, [1, 0, 70_000, 3, 200_000, 127, 128]])
def test_records_are_those_that_were_written(tmp_path, sizes):
    rng = np.random.default_rng(0)
    records = [rng.bytes(size) for size in sizes]
    path = write(tmp_path / "shard", records)
    file = direct.open_direct(path, len(records))
    for index in rng.permutation(len(records)):
        assert file[index].tobytes() == records[index]


@pytest.mark.parametrize("options", ["group_size:1,zstd:3", "group_size:2,uncompressed", ""])
def test_other_ways_to_write_are_not_taken_for_it(tmp_path, options):
    records = [bytes([i]) * 50 for i in range(20)]
    assert direct.open_direct(write(tmp_path / "shard", records, options), len(records)) is None


def test_a_file_that_ends_early(tmp_path):
    path = write(tmp_path / "shard", [bytes(100_000)] * 3)
    file = direct.open_direct(path, 3)
    with open(path, "r+b") as shard:
        shard.truncate(150_000)
    assert len(file[0]) == 100_000
    with pytest.raises(ValueError, match="the file ends before byte"):
        file[1]
    assert direct.open_direct(path, 3) is None
