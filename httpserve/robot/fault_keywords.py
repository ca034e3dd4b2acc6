"""Keywords that let answers be wrong on purpose, and hold them.

Knows faults as a suite writes them, and when they end. Does not know what a fault does.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from robot.api import logger
from robot.utils import timestr_to_secs

from httpserve import FaultHandle, Hold, InvalidArgument, Transfer
from httpserve.faults import parse
from httpserve.robot.conversions import Address, Held, Place, seconds
from httpserve.robot.download_keywords import WAIT, board_address
from httpserve.robot.keyword import Keywords, keyword, where
from httpserve.robot.transfers_log import plain

HALF = Place(0.5)
DURATIONS = ("seconds", "retry_after")  # among the values of faults


class FaultKeywords(Keywords):
    """What a bad network does, and the very byte at which to pull the plug."""

    @keyword("Inject Fault", "fault")
    def inject_fault(
        self,
        name: str | None,
        fault: str | None = None,
        *,
        times: int | None = None,
        after: int | None = None,
        client: Address | None = None,
        method: str | None = None,
        seed: str | None = None,
        server: str | None = None,
        **values: object,
    ) -> FaultHandle:
        r"""Lets answers about a file be wrong on purpose, from now on. Does not block. Returns what is in force.

        ``name`` is a name on the server, or a pattern such as ``*.img``; ``${None}``: every request. ``fault`` is one
        of ``slow``, ``stall``, ``cut``, ``corrupt``, ``truncate``, ``wrong-length``, ``ignore-range``, ``wrong-range``,
        ``no-length``, ``status``, ``redirect``, ``stale``, ``refuse`` and ``headers``; further arguments are its
        values. The documentation of httpserve explains each in "Wrong on purpose". Any fault takes ``chance=10%``.

        Instead of arguments, values may be written behind the fault as in a shell: ``cut@50%,times=2``. Faults one
        after the other have ``;`` between them, and ``none`` is an answer without one: ``status@500;status@500;none``.

        ``times`` is how many answers it changes; default: all. ``after`` is how many it lets through first. ``client``
        is the address of the board, and ``method`` is, say, ``GET``; what is not given may be anything. ``seed``
        decides what is left to chance: with the same one, the same requests meet the same faults. ``server`` is an
        alias; default: the current server.

        It ends with the test, or, in a suite setup, with the suite; `Clear Faults` ends it before that. What it returns
        has ``hits``, the records of the requests that met it, and ``remaining``. The log says of each transfer which
        fault it met.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    fw.bin    firmware
        | ${fault}=    Inject Fault    fw.bin    cut    at=50%    times=2
        | Type On Board    wget -q --waitretry=0 ${url}
        | Wait For Download    fw.bin    timeout=30 s
        | Length Should Be    ${fault.hits}    2
        """
        for key in [key for key in values if not key.isidentifier()]:  # Robot takes `cut@50%,times=2` for an argument
            if fault is None:
                fault = f"{key}={values.pop(key)}"
        for key in DURATIONS:
            with suppress(ValueError):  # which has a better message there
                values |= {key: timestr_to_secs(values[key])} if key in values else {}
        if fault is None:
            raise InvalidArgument("Inject Fault needs a fault, such as: Inject Fault    fw.bin    cut    at=50%")
        given = {"times": times, "after": after, "client": board_address(client), "method": method, "seed": seed}
        said = parse(fault, **{key: value for key, value in given.items() if value is not None}, **values)
        handle = self.client(server).fault(name, *said.faults, **said.terms)
        self.servers.end_with(handle.clear, *where())
        logger.info(f"in force: {handle!r}, seed={handle.seed}")
        return handle

    @keyword("Clear Faults", "fault")
    def clear_faults(self, server: str | None = None) -> None:
        """Ends all faults of a server, those of a suite setup too. Does not block; harmless when there is none.

        What is under way goes on as it began. ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    fw.bin    firmware
        | Inject Fault    fw.bin    status    code=503
        | Clear Faults
        | Type On Board    wget -q ${url}
        | Wait For Download    fw.bin    timeout=30 s
        """
        self.client(server).clear_faults()

    @keyword("Hold Download", "fault", "board")
    def hold_download(
        self, name: str | None, at: Place = HALF, client: Address | None = None, server: str | None = None
    ) -> Hold:
        """Lets downloads of a file stop before one byte until they are released, from now on. Does not block.

        `Wait For Held Download` waits until a board has all that comes before, so that a test can pull the plug at a
        byte that it knows; `Release Download` lets the download go on. The server does not give it up, but the board's
        own time-outs go on. A hold ends with the test, or, in a suite setup, with the suite.

        ``name`` is a name on the server, or a pattern such as ``*.img``; ``${None}``: every file. ``at`` is the place:
        ``50%`` (default), ``0.5``, a byte such as ``4096`` or ``64 KiB``, or ``-1`` from the end. ``client`` is the
        address of the board; default: any. ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    fw.bin    firmware
        | ${hold}=    Hold Download    fw.bin    at=50%
        | Type On Board    wget -q ${url} >log 2>&1 &
        | ${transfer}=    Wait For Held Download    ${hold}    timeout=30 s
        | Should Be Equal As Integers    ${transfer.acknowledged}    4
        """
        hold = self.client(server).hold(name, at.value, board_address(client))
        self.servers.end_with(hold.release, *where())
        return hold

    @keyword("Wait For Held Download", "fault", "board", "wait")
    def wait_for_held_download(self, hold: Held, timeout: timedelta = WAIT, server: str | None = None) -> Transfer:
        """Waits until a board has every byte before a hold, and returns how far the download is.

        Returns at once if a download waits there already. The transfer has ``client``, ``acknowledged``, ``total`` and
        more. ``hold`` is what `Hold Download` returned, or the name that it was given. ``timeout`` is how long to wait;
        default: 10 minutes. ``server`` is an alias, for a name; default: the current server.

        When it fails, the message says what happened instead.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    fw.bin    firmware
        | Hold Download    fw.bin    at=1
        | Type On Board    wget -q ${url} >log 2>&1 &
        | ${transfer}=    Wait For Held Download    fw.bin    timeout=30 s
        | Should Be Equal    ${transfer.client}    127.0.0.1
        """
        return self._hold(hold, server).wait(seconds(timeout))

    @keyword("Release Download", "fault", "board")
    def release_download(self, hold: Held, server: str | None = None) -> None:
        """Lets what is held go on, and holds nothing there any more. Does not block.

        ``hold`` is what `Hold Download` returned, or the name that it was given. ``server`` is an alias, for a name;
        default: the current server. Harmless when repeated with what `Hold Download` returned.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    fw.bin    firmware
        | ${hold}=    Hold Download    fw.bin    at=-1
        | Type On Board    wget -q ${url} >log 2>&1 &
        | Wait For Held Download    ${hold}    timeout=30 s
        | Release Download    ${hold}
        | Wait For Download    fw.bin    timeout=30 s
        """
        self._hold(hold, server).release()

    def _hold(self, hold: Held, server: str | None) -> Hold:
        wanted = hold.value
        if isinstance(wanted, Hold):
            return wanted
        holds = [one for one in self.client(server).holds if one.name in (wanted, plain(wanted))]
        if not holds:
            raise InvalidArgument(f"nothing holds {wanted!r}: use Hold Download first")
        return holds[-1]
