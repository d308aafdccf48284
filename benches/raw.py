"""The raw limit: how fast the server hands a result or the binlog over to a client that throws the bytes away.

Just enough of the protocol for a user without a password on loopback. The server closes the connection behind the last byte, so that
nothing needs to be parsed: of itself behind a binlog, and told by a COM_QUIT right behind the query of a result.
"""

import resource
import socket
import struct
import time

CLIENT_FLAGS = 0x0000_0001 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000  # long password, 4.1, secure connection, plugin auth


def _packet(connection):
    def exactly(n):
        data = b""
        while len(data) < n:
            got = connection.recv(n - len(data))
            if not got:
                raise EOFError("the server closed the connection")
            data += got
        return data

    head = exactly(4)
    return head[3], exactly(int.from_bytes(head[:3], "little"))


def _send(connection, payload, sequence=0):
    connection.sendall(len(payload).to_bytes(3, "little") + bytes([sequence]) + payload)


def _connect(port):
    connection = socket.create_connection(("127.0.0.1", port))
    sequence, _ = _packet(connection)
    answer = struct.pack("<IIB23x", CLIENT_FLAGS, 1 << 24, 255) + b"root\0" + b"\0" + b"caching_sha2_password\0"
    _send(connection, answer, sequence + 1)
    while True:
        sequence, packet = _packet(connection)
        if packet[0] == 0x00:
            return connection
        if packet[0] == 0xFF:
            raise RuntimeError(packet[9:].decode(errors="replace"))
        if packet[0] == 0xFE:
            _send(connection, b"", sequence + 1)


def _query(connection, statement):
    _send(connection, b"\x03" + statement.encode())
    _, packet = _packet(connection)
    if packet[0] != 0x00:
        raise RuntimeError(f"{statement}: {packet!r}")


def _drain(connection, *commands):
    for packet in commands:
        _send(connection, packet)
    buffer, size = bytearray(1 << 20), 0
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    while got := connection.recv_into(buffer):
        size += got
    used = resource.getrusage(resource.RUSAGE_SELF)
    connection.close()
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.monotonic() - started, "cpu_seconds": cpu, "bytes": size}


def select(port, table):
    """Drain all rows of a table over one connection."""
    connection = _connect(port)
    return _drain(connection, f"\x03SELECT * FROM {table}".encode(), b"\x01")


def binlog(port, file, offset):
    """Drain the binlog from a place to its end."""
    connection = _connect(port)
    _query(connection, "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32'")
    command = struct.pack("<BIHI", 0x12, offset, 1, 990001) + file.encode()  # 1: end at the end instead of waiting
    return _drain(connection, command)
