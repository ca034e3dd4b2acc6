"""Lists that the Linux kernel keeps, asked for over rtnetlink(7).

Knows the messages and their attributes. Does not know what is in the lists. Struct layouts and numbers are those
of linux/netlink.h and linux/rtnetlink.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_NLMSG_HEADER = struct.Struct("=IHHII")
_RTATTR = struct.Struct("=HH")
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NETLINK_SECONDS = 1.0  # it answers in microseconds; a sandbox may swallow the question
_REQUEST_DUMP = 0x1 | 0x300


def netlink(question: int, answer: int, size: int) -> Iterator[bytes]:
    """Give the entries of one of the kernel's lists. Blocks for microseconds; at most a second for each part.

    *question* and *answer* are the numbers of the messages, *size* the bytes of the fixed part of the request. Raises
    OSError where the kernel refuses or does not answer, as in a sandbox.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_NETLINK_SECONDS)
        kernel.send(_NLMSG_HEADER.pack(_NLMSG_HEADER.size + size, question, _REQUEST_DUMP, 1, 0) + bytes(size))
        is_complete = False
        while not is_complete:
            payloads, is_complete = read_answer(kernel.recv(1 << 16), answer)
            yield from payloads


def read_answer(data: bytes, answer: int) -> tuple[list[bytes], bool]:
    """Return the entries in one answer of the kernel, and whether it was the last."""
    payloads: list[bytes] = []
    for kind, payload in _split_messages(data):
        if kind == _NLMSG_DONE:
            return payloads, True
        if kind == _NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", payload)[0], "netlink refuses to list addresses")
        if kind == answer:
            payloads.append(payload)
    return payloads, False


def _split_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _NLMSG_HEADER.size:
        length, kind, *_ = _NLMSG_HEADER.unpack_from(data)
        yield kind, data[_NLMSG_HEADER.size : length]
        data = data[_aligned(length) :]


def netlink_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what follows the fixed part of an entry: number and value of each attribute."""
    while len(data) >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(data)
        yield kind, data[_RTATTR.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
