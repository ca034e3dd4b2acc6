"""What the kernel knows about a TCP connection, and how listening sockets are set up.

Knows socket options. Knows no HTTP.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from array import array
from typing import Any

try:
    import fcntl
    import termios
except ImportError:  # pragma: no cover - Windows
    pass

BACKLOG = 1024
TELLS_OUTSTANDING = sys.platform == "linux"
# What may be queued ahead of what is in flight: little for a slow board, as there may be a thousand; for a quick one
# all that the send buffer takes, without which a download on the same machine is a sixth slower.
NOT_SENT_BYTES = 128 * 1024
QUICK_NOT_SENT_BYTES = 64 * 1024 * 1024

_NOTHING = array("i", [0])
_SIOCOUTQ = termios.TIOCOUTQ if TELLS_OUTSTANDING else 0  # both have the same number
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_FIN_ON_CLOSE = struct.pack("ii", 0, 0)
_UNSPECIFIED = bytes(16)  # a struct sockaddr of the family AF_UNSPEC
_TCP_RTO_MAX_MS = 44
_TCP_INFO_BYTES = 60
_TCP_CLOSE, _TCP_CLOSE_WAIT, _TCP_LAST_ACK = 7, 8, 9  # states, in include/net/tcp_states.h
_RETRANSMITS, _PROBES, _LAST_ACK_RECEIVED = 2, 3, 56  # offsets in struct tcp_info


def outstanding(fd: int) -> int:
    """Return how many bytes handed to the kernel the client has not acknowledged, a FIN counted as one.

    Where the system does not tell, all of them until a next request or a close proves otherwise.
    """
    if not TELLS_OUTSTANDING:
        return sys.maxsize
    count = _NOTHING[:]  # fcntl fills an array in half the time that it takes to make bytes
    try:
        fcntl.ioctl(fd, _SIOCOUTQ, count)
    except OSError:
        return sys.maxsize
    return count[0]


def reset_on_close(sock: socket.socket, wanted: bool) -> None:
    """Set whether the end of the socket, even by a kill -9, resets the connection or sends a FIN."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE if wanted else _FIN_ON_CLOSE)
    except OSError:
        pass  # the client was first


def reset_now(sock: socket.socket) -> None:
    """Reset a connection that another thread uses, which then fails. The descriptor stays open and with its owner."""
    reset_on_close(sock, True)
    try:
        import ctypes
    except ImportError:  # pragma: no cover - a Python without it; the socket's owner notices soon
        return

    # connect(2): "Some protocol sockets (e.g., TCP sockets ...) may dissolve the association by connecting to an
    # address with the sa_family member of sockaddr set to AF_UNSPEC." Linux resets the connection for that.
    ctypes.CDLL(None).connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED))


class Room:
    """Whether a socket takes more."""

    def __init__(self, fd: int) -> None:
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def comes_within(self, seconds: float) -> bool:
        """Wait until the socket takes more, or is over; False if neither happens in time."""
        return bool(self._poll.poll(seconds * 1000))


def wait_for_input(fd: int, seconds: float) -> None:
    """Wait until a socket has something to read, or is over, for at most `seconds`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(seconds * 1000)


def is_lost(sock: socket.socket, seconds: float) -> bool:
    """Tell whether the other end has left what was sent unanswered for nearly `seconds`.

    Not TCP_USER_TIMEOUT: it also ends the connection of a board that is alive but takes nothing for a while, because it
    is busy erasing its flash. Such a board answers the probes of its closed window, a dead one does not. One probe
    may be under way, or have been lost.
    """
    if not TELLS_OUTSTANDING:
        return False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return True
    unanswered = info[_RETRANSMITS] + info[_PROBES]
    (milliseconds,) = struct.unpack_from("I", info, _LAST_ACK_RECEIVED)
    return unanswered >= 2 and milliseconds >= 0.8 * seconds * 1000


def is_over(sock: socket.socket) -> bool:
    """Tell whether the connection has ended for both sides: by a reset, which an unread socket hides."""
    if not TELLS_OUTSTANDING:
        return False
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
    except OSError:
        return True


def has_left(sock: socket.socket) -> bool:
    """Tell whether the client has ended its side, or the connection is over. Does not need to read what it sent."""
    if not TELLS_OUTSTANDING:
        return False
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return True
    return state in (_TCP_CLOSE, _TCP_CLOSE_WAIT, _TCP_LAST_ACK)


def error_of(sock: socket.socket) -> OSError | None:
    """Return why a connection is over, once; None if the client ended it in good order."""
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None


class Listener(socket.socket):
    """A listening socket that takes over another one's descriptor, and accepts in half the time.

    `accept` asks for family and type, which `socket` looks up in Enums each time.
    """

    family: Any = None
    type: Any = None

    def __init__(self, sock: socket.socket) -> None:
        family, kind = sock.family, sock.type
        super().__init__(family, kind, sock.proto, sock.detach())
        self.family, self.type = family, kind
        self.setblocking(False)


def listen(sock: socket.socket, lost_seconds: float) -> None:
    """Make a bound socket listen, with options that every connection inherits. Raises what the system raises."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _set_probes(sock, lost_seconds)
    _limit_queue(sock, NOT_SENT_BYTES)
    sock.listen(BACKLOG)


def queue_more(sock: socket.socket) -> None:
    """Let more be queued for a client that takes it quickly."""
    _limit_queue(sock, QUICK_NOT_SENT_BYTES)


def _limit_queue(sock: socket.socket, most: int) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, most)
    except (AttributeError, OSError):
        pass  # not every system has it, and the connection may be over


def _set_probes(sock: socket.socket, lost_seconds: float) -> None:
    # An idle connection to a board without power: half the time until the first probe, the rest in even steps.
    idle = min(32767, max(1, int(lost_seconds / 2)))
    interval = min(32767, max(1, int(lost_seconds / 8)))
    count = min(127, max(1, int((lost_seconds - idle) // interval)))
    for option, value in (("TCP_KEEPIDLE", idle), ("TCP_KEEPINTVL", interval), ("TCP_KEEPCNT", count)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    # Probes of a closed window back off to two minutes by default: too rare to tell who is lost.
    milliseconds = int(min(120.0, max(1.0, lost_seconds / 8)) * 1000)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, milliseconds)
    except OSError:
        pass  # Linux before 6.15


def borrowed_bytes(sock: socket.socket) -> int:
    """Return how many of the last bytes that sendfile hands over may still be pages of the file afterwards.

    These are what the send queue holds. What leaves by hardware is copied; on one machine, over loopback or into a
    container, the pages themselves wait in the receiver's queue, acknowledged, until it has read them.
    """
    return SEND_QUEUE_BYTES if _leaves_by_hardware(sock) else SEND_QUEUE_BYTES + _RECEIVE_QUEUE_BYTES


def _leaves_by_hardware(sock: socket.socket) -> bool:
    is_ipv4 = sock.family == socket.AF_INET
    level, wanted, options, at = (socket.IPPROTO_IP, 8, 9, 16) if is_ipv4 else (socket.IPPROTO_IPV6, 49, 6, 32)
    try:
        # IP_PKTINFO and IP_PKTOPTIONS, or those of IPv6: for TCP, they tell which interface the client came by.
        sock.setsockopt(level, wanted, 1)
        (index,) = struct.unpack_from("i", sock.getsockopt(level, options, 128), at)
        sock.setsockopt(level, wanted, 0)
        return is_hardware(socket.if_indextoname(index))
    except (OSError, struct.error):  # not Linux, or the interface has gone
        return False


def is_hardware(interface: str, within: str = "/sys/class/net") -> bool:
    """Tell whether what an interface sends leaves this machine, and so is copied. Raises OSError."""
    path = f"{within}/{interface}"
    if os.path.exists(f"{path}/device"):
        return True
    with open(f"{path}/uevent", encoding="ascii") as file:
        kinds = [line.strip().removeprefix("DEVTYPE=") for line in file if line.startswith("DEVTYPE=")]
    if not kinds or kinds[0] not in ("bond", "bridge", "vlan"):
        return False
    lower = [name.removeprefix("lower_") for name in os.listdir(path) if name.startswith("lower_")]
    return bool(lower) and all(is_hardware(name, within) for name in lower)


def _most_queued(name: str) -> int:
    """Return how many bytes a queue can hold."""
    try:
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as file:
            return int(file.read().split()[2])
    except (OSError, ValueError, IndexError):
        return 6 * 1024 * 1024  # Linux's default for the larger of both


# The queue takes one more segment when it is nearly full, and the last piece is read in that state.
SEND_QUEUE_BYTES = _most_queued("tcp_wmem") + 256 * 1024
_RECEIVE_QUEUE_BYTES = _most_queued("tcp_rmem")
