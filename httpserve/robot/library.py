"""The library: what an import takes, and what happens at the ends of tests and suites.

Knows Robot's listener calls. Has no keywords itself: the groups have them.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from robot import result, running
from robot.api import logger
from robot.api.deco import library
from robot.libraries.BuiltIn import BuiltIn
from robot.utils import escape
from robot.version import VERSION

from httpserve import __version__
from httpserve.robot.answer_keywords import AnswerKeywords
from httpserve.robot.conversions import (
    CONVERTERS,
    Address,
    Addresses,
    AutoClose,
    Names,
    Service,
    Size,
    misspelt,
    reads_text,
)
from httpserve.robot.download_keywords import DownloadKeywords
from httpserve.robot.fault_keywords import FaultKeywords
from httpserve.robot.file_keywords import FileKeywords
from httpserve.robot.python_log import PYTHON_LOG
from httpserve.robot.server_keywords import ServerKeywords
from httpserve.robot.servers import Servers, settings_of
from httpserve.robot.transfers_log import TransfersLog
from httpserve.robot.upload_keywords import UploadKeywords


@library(scope="GLOBAL", version=__version__, converters=CONVERTERS, doc_format="ROBOT", listener="SELF")
class HttpServe(ServerKeywords, FileKeywords, DownloadKeywords, FaultKeywords, AnswerKeywords, UploadKeywords):
    """Serves files over HTTP to the boards on a test bench, and knows that they have them.

    == A first suite ==

    In its settings give the address of the board, so that the server listens on the side that faces it:
    | Library           httpserve.robot.HttpServe    peer=192.168.7.2
    | Suite Setup       Start HTTP Server

    And a test:
    | The Board Takes The New Kernel
    |     Put File    boot/Image    ${CURDIR}/Image
    |     ${download}=    Expect Download    boot/Image    timeout=2 min
    |     ${command}=    Get Download Command    boot/Image    u-boot
    |     Type On Board    ${command}
    |     ${record}=    Wait For Download    ${download}
    |     Log    ${record.client} has ${record.bytes} bytes after ${record.seconds} s

    ``Type On Board``, here and in the examples below, is a keyword of your own that types a line on the board's
    console: over SSH, a serial line, or whatever your bench has.

    == How things are written ==

    Durations are Robot's: ``2 min``, ``500 ms``, or a number of seconds. Amounts are numbers of bytes, also with a
    unit: ``10 MiB``. ``${None}`` is a value that is not given.

    A misspelt argument such as ``aliass=lab`` is an error that names the argument that is like it. A required argument
    takes text of any form: ``Put Text    boot.env    serverip=192.168.7.1``. In place of an optional argument, a name
    on the server that has this form is written ``/a=b``. At the import Robot itself refuses a misspelt argument that
    follows a named one: it says ``got unexpected named argument``, and not which argument is like it. Robot Framework
    7.0 does the same for keywords, and for everything that it refuses before a keyword begins.

    A warning that httpserve gives Python's logging, such as one about a ``peer`` on no network of this host, is also a
    warning in Robot's log and on the console.

    == Several servers ==

    The argument ``alias=`` of `Start HTTP Server` names a server. Keywords work on the current one, which is the one
    that was started last; `Switch HTTP Server` makes another one current, and ``server=alias`` uses another one for a
    single call. Aliases ignore case and spaces.

    == When servers end ==

    ``auto_close`` decides: ``SUITE`` (default), ``TEST`` or ``MANUAL``. When a server ends, its port is free, and what
    was put on it is removed.

    == Wrong on purpose ==

    `Inject Fault` lets answers be wrong, as those of a bad network are, and `Hold Download` lets them stop at one byte.
    In a test, or its setup, they end with the test; in a suite setup they end with the suite. The log names them.

    == Back from the board ==

    Boards may send files that a suite asks for: one by `Expect Upload`, any number by `Accept Uploads`. In a test, or
    its setup, these end with the test; in a suite setup they end with the suite.

    == The log ==

    Each keyword of this library ends with a line for each transfer that has ended since the last keyword, with the time
    of its end. Each test ends with a table of what went to whom, or came from whom, and the total. `Get Requests`,
    `Get Transfers` and `Get Missing Files` write what they return as a table. A test shows at most 50 lines, and 50
    rows of either kind; once these three keywords have shown 50 rows in a test, the next one writes only how many there
    are.

    == Beside OperatingSystem ==

    `Remove File` and `File Should Exist` are also keywords of Robot's own library OperatingSystem. In a suite that
    imports both, Robot uses those of httpserve and warns. Import httpserve ``AS    Http`` and write ``Http.Remove
    File`` or ``OperatingSystem.Remove File``.

    == Several processes ==

    With pabot each process has its own servers. Leave ``port`` at 0, and the system gives each of them its own port.
    """

    @reads_text
    def __init__(
        self,
        root_dir: Path | None = None,
        host: Address | None = None,
        port: int = 0,
        timeout: timedelta = timedelta(minutes=10),
        remove_created_on_close: bool | None = None,
        *,
        auto_close: AutoClose = AutoClose.SUITE,
        peer: Address | None = None,
        advertise: str | None = None,
        listing: bool = True,
        dot_files: bool = False,
        read_only: bool = False,
        only: Names | None = None,
        digests: bool = True,
        max_records: int = 1000,
        max_connections: int | None = None,
        lost_after: timedelta = timedelta(seconds=30),
        strict_peer: bool = False,
        more_hosts: Addresses | None = None,
        root: Service | None = None,
        cache_dir: Path | None = None,
        cache_bytes: Size | None = None,
        fresh_for: timedelta | None = None,
        redirect: bool | Names | None = None,
        look_timeout: timedelta | None = None,
        look_tries: int | None = None,
        read_timeout: timedelta | None = None,
        read_tries: int | None = None,
    ) -> None:
        """Sets the defaults of servers, and when they end. Starts nothing.

        The arguments are the defaults of `Start HTTP Server`, except ``auto_close``.

        - ``root_dir``: the directory to serve; default: a private one, deleted when the server ends.
        - ``host``: where to listen; default: the address that faces ``peer``, or the one that other hosts reach.
        - ``port``: the port; default: 0, the system chooses.
        - ``timeout``: after how long without progress a download, or a remote source, times out; default: 10 minutes.
        - ``remove_created_on_close``: whether what was put is removed at the end; default: yes in a directory, no in a
          store.
        - ``auto_close``: when servers end by themselves: ``SUITE`` (default), ``TEST`` or ``MANUAL``.
        - ``peer``: the board's address: the server listens, and URLs point, on the side that faces it.
        - ``advertise``: what URLs say instead: ``http://host:port/prefix``, ``host:port`` or ``host``.
        - ``listing``: whether a directory without an index.html answers with a list; default: yes.
        - ``dot_files``: whether to serve files with a leading dot that others put there; default: no.
        - ``read_only``: change nothing in ``root_dir``, which must exist; default: no.
        - ``only``: serve these files and directories of ``root_dir``, and nothing else.
        - ``digests``: whether ``NAME.sha256`` answers with the digest of a file; default: yes.
        - ``max_records``: how many requests `Get Requests` remembers; default: 1000.
        - ``max_connections``: the most connections at a time; default: what fits the limit of descriptors.
        - ``lost_after``: after how long without a sign of life a board is taken for lost; default: 30 seconds.
        - ``strict_peer``: whether a ``peer`` on no network of this host is an error, not a warning; default: no.
        - ``more_hosts``: where else to listen, on the same port; URLs are not made of these.
        - ``root``: a store to serve in place of a directory: a URL with the options of its service, such as
          ``s3://bucket/part?region=eu-central-1``, or an operator that `Create Operator` made. Keys are best in the
          environment: a suite's log has all that is written in it.
        - ``cache_dir``: where to keep what is read from the store; default: a private directory.
        - ``cache_bytes``: the most to keep of it, such as ``8 GiB``; ``0``: nothing; default: 8 GiB.
        - ``fresh_for``: for how long an object is taken for unchanged; default: the store is asked at each request.
        - ``redirect``: whom to send on to the store: ``yes`` for clients that are known to follow, or patterns of
          names, or of clients after ``User-Agent:``; default: nobody.
        - ``look_timeout``, ``look_tries``: for how long the store may be silent when it is asked about an object, and
          how often it is asked, before a board gets 503; default: 2 seconds, twice.
        - ``read_timeout``, ``read_tries``: for how long it may send no byte of an object until the read begins anew
          where it stopped, and for how many times that this goes on; default: 5 seconds, three times.
        """
        self.servers = Servers(settings_of(locals()), auto_close)
        self.transfers_log = TransfersLog()
        self._test: running.TestCase | None = None  # whose table has begun

    # What Robot calls, in the thread of the keywords

    def start_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Begin the test's table."""
        self._test = data
        self.ended()  # what ended before is not part of this test
        self.transfers_log.begin()

    def end_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Write the test's table, then end what is to end with the test.

        Robot calls this once for each name under which a suite imports the library; the first call counts.
        """
        if self._test is not data:
            return
        self._test = None
        table = self.transfers_log.table([*self.ended(), *self.under_way()])
        if table:
            _log(table)
        self.servers.test_ended()
        PYTHON_LOG.write()

    def end_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """End what is to end with the suite."""
        self.servers.suite_ended(data.full_name)
        PYTHON_LOG.write()

    def close(self) -> None:
        """Stop listening to Python's logging: Robot has ended."""
        PYTHON_LOG.end()

    def start_library_keyword(
        self, data: running.Keyword, implementation: running.LibraryKeyword, result: result.Keyword
    ) -> None:
        """Note that no keyword of ours has begun yet."""
        self.has_begun = False

    def end_library_keyword(
        self, data: running.Keyword, implementation: running.LibraryKeyword, result: result.Keyword
    ) -> None:
        """Name a misspelt argument if Robot has refused the call in its own words."""
        if result.failed and not self.has_begun and implementation.owner.instance is self:
            result.message = misspelt(data.args, implementation.args) or result.message


def _log(table: str) -> None:
    """Write HTML at the end of a test, outside of any keyword."""
    if VERSION.startswith(("7.0", "7.1")):  # these drop what a listener logs there, but let it run a keyword
        BuiltIn().run_keyword("Log", escape(table), "html=True")
    else:
        logger.info(table, html=True)
