#!/usr/bin/env python3
"""Rewrites one value of a Parquet file in its place, as somebody with a script would: what binlake must notice.

    tamper.py FILE KEY_COLUMN KEY COLUMN VALUE       the row whose key is KEY gets VALUE; `--gone` for VALUE removes the row
    tamper.py --other-size ...                       the file may change its length

Without --other-size the new file has exactly the length of the old one, so that only its rows tell: it is compressed harder, and filled
up with a padding entry in the footer.
"""

import os
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PAD = b"tamper.padding"


def changed(table, key_column, key, column, value):
    found = pc.equal(table[key_column], pa.scalar(int(key), table[key_column].type))
    if not pc.any(found).as_py():
        raise SystemExit(f"no row with {key_column}={key}")
    if value == "--gone":
        return table.filter(pc.invert(found))
    field = table.schema.field(column)
    new = pc.if_else(found, pa.scalar(value, pa.string()).cast(field.type), table[column])
    return table.set_column(table.schema.get_field_index(column), field, new)


def write(table, metadata, path, padding):
    if padding is not None:
        metadata = metadata | {PAD: b"x" * padding}
    table = table.replace_schema_metadata(None)
    options = {"compression": "zstd", "compression_level": 19, "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, table.schema, store_schema=False, **options) as writer:
        writer.write_table(table, row_group_size=1 << 30)
        writer.add_key_value_metadata(metadata)
    return os.path.getsize(path)


def main():
    arguments = sys.argv[1:]
    other_size = arguments[0] == "--other-size"
    path, key_column, key, column, value = arguments[1:] if other_size else arguments
    if pq.ParquetFile(path).num_row_groups != 1:
        raise SystemExit("the file has several row groups")
    table = changed(pq.read_table(path, partitioning=None), key_column, key, column, value)
    metadata = {key: value for key, value in (pq.read_metadata(path).metadata or {}).items() if key != b"ARROW:schema"}
    wanted, new = os.path.getsize(path), path + ".new"
    size = write(table, metadata, new, None if other_size else 0)
    if other_size:
        if size == wanted:
            size = write(table, metadata, new, 100)
    else:
        # The lengths in the footer grow with the padding, so a second look may be needed.
        padding = 0
        for _ in range(8):
            if size == wanted:
                break
            padding += wanted - size
            if padding < 0:
                raise SystemExit(f"{path}: the rewritten file cannot be made as short as {wanted} bytes")
            size = write(table, metadata, new, padding)
        if size != wanted:
            raise SystemExit(f"{path}: the rewritten file has {size} bytes and not {wanted}")
    os.replace(new, path)


if __name__ == "__main__":
    main()
