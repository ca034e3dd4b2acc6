"""Keywords for files that boards send back.

Knows uploads as a suite writes them, and when they end. Does not know how content comes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from robot.api import logger

from httpserve import AcceptedUploads, ExpectedUpload, InvalidArgument, UploadRecord
from httpserve.base.text import printable, size
from httpserve.robot.conversions import Address, Size, Upload, seconds
from httpserve.robot.download_keywords import WAIT, board_address, epoch
from httpserve.robot.keyword import Keywords, keyword, where
from httpserve.robot.transfers_log import MOST_CHARACTERS, plain

MOST = Size(64 * 1024 * 1024)


class UploadKeywords(Keywords):
    """Logs and results come back."""

    @keyword("Accept Uploads", "upload", "board")
    def accept_uploads(
        self,
        name: str,
        max_bytes: Size = MOST,
        *,
        overwrite: bool = False,
        count: int | None = None,
        server: str | None = None,
    ) -> AcceptedUploads:
        """Lets boards send a file, or any file below a directory, from now on. Does not block.

        A board sends it by PUT or POST to its URL, or by a form (``curl -F``). Once all of it has come, it is a file of
        the server as if it had been put. Nothing else is accepted.

        ``name`` is a name on the server; or a directory, such as ``logs/``, for any file below it. ``max_bytes`` is the
        most that one request may bring; default: 64 MiB. ``overwrite`` is whether an upload may replace a file that is
        there; default: no. ``count`` is how many uploads are taken; default: any number. ``server`` is an alias;
        default: the current server.

        It ends with the test, or, in a suite setup, with the suite; `Stop Accepting Uploads` ends it before that. If
        several fit a name, the latest one counts.

        Example:
        | Start HTTP Server
        | Accept Uploads    logs/    max_bytes=200 MiB
        | ${url}=    Get File URL    logs/boot.log
        | Type On Board    wget -q -O - --post-data=booted ${url}
        | ${record}=    Wait For Upload    logs/    timeout=30 s
        | Should Be Equal    ${record.name}    logs/boot.log
        """
        accepted = self.client(server).accept_uploads(name, max_bytes.value, overwrite=overwrite, count=count)
        self.servers.end_with(accepted.close, *where())
        return accepted

    @keyword("Stop Accepting Uploads", "upload", "board")
    def stop_accepting_uploads(self, upload: Upload | None = None, server: str | None = None) -> None:
        """Accepts files from boards no longer. Does not block; what is on its way in may come to its end.

        ``upload`` is what `Accept Uploads` or `Expect Upload` returned, or the name that it was given; default: all of
        a server, those of a suite setup too. ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Accept Uploads    results.xml
        | Stop Accepting Uploads    results.xml
        | ${url}=    Get File URL    results.xml
        | Type On Board    wget -q -O - --post-data=late ${url}
        | Wait For Request    results.xml    status=405    timeout=30 s
        """
        wanted = None if upload is None else upload.value
        if isinstance(wanted, AcceptedUploads | ExpectedUpload):
            wanted.close()
            return
        in_force = self.client(server).accepted_uploads
        ended = [one for one in in_force if wanted is None or one.name == _as_accepted(_name_of(wanted))]
        if wanted is not None and not ended:
            there = ", ".join(repr(one.name) for one in in_force) or "nothing"
            raise InvalidArgument(f"no uploads of {_name_of(wanted)!r} are accepted; accepted is: {there}")
        for one in ended:
            one.close()

    @keyword("Expect Upload", "upload", "board", "wait")
    def expect_upload(
        self,
        name: str,
        timeout: timedelta | None = WAIT,
        *,
        max_bytes: Size = MOST,
        overwrite: bool = False,
        client: Address | None = None,
        server: str | None = None,
    ) -> ExpectedUpload:
        """Lets boards send a file until `Wait For Upload` is given what this returns. Does not block.

        Use it before the command that makes the board send. Only what comes after this keyword counts; once
        `Wait For Upload` has ended, and at the latest with the test, or, in a suite setup, with the suite, the file is
        accepted no more.

        ``timeout`` starts with `Wait For Upload`, and ``client`` is the address of the board that must send it. The
        other arguments are those of `Accept Uploads`.

        Example:
        | Start HTTP Server
        | ${upload}=    Expect Upload    results.xml    timeout=30 s
        | ${url}=    Get File URL    results.xml
        | Type On Board    wget -q -O - --post-data=passed ${url}
        | ${record}=    Wait For Upload    ${upload}
        | Should Be Equal As Integers    ${record.bytes}    6
        """
        expected = self.client(server).expect_upload(
            name,
            seconds(timeout),
            max_bytes=max_bytes.value,
            overwrite=overwrite,
            client=board_address(client),
        )
        self.servers.end_with(expected.close, *where())
        return expected

    @keyword("Wait For Upload", "upload", "board", "wait")
    def wait_for_upload(
        self,
        upload: Upload,
        timeout: timedelta | None = WAIT,
        *,
        client: Address | None = None,
        since: datetime | None = None,
        server: str | None = None,
    ) -> UploadRecord:
        """Waits until a board has sent a file, and returns its record: ``client``, ``bytes``, ``sha256`` and more.

        ``upload`` is what `Expect Upload` returned, which then needs no further argument; or what `Accept Uploads`
        returned; or a name on the server, or a directory such as ``logs/``. For a name, an upload that came before this
        keyword counts too; each is returned by one wait, the oldest first.

        ``timeout`` is how long to wait; default: 10 minutes, ``None``: for ever. ``client`` is the address of the board
        that must send it; default: any. ``since`` is a time from which uploads count, also those that a wait has
        returned. ``server`` is an alias; default: the current server.

        ``${record.path()}`` is the path of the file on this host, and ``${record.read()}`` its content. The file is
        removed when the server ends. When this keyword fails, the message says what happened instead.

        Example:
        | Start HTTP Server
        | Accept Uploads    results.xml
        | ${url}=    Get File URL    results.xml
        | Type On Board    wget -q -O - --post-data=passed ${url}
        | ${record}=    Wait For Upload    results.xml    timeout=30 s
        | Should Be Equal    ${record.client}    127.0.0.1
        """
        if isinstance(upload.value, ExpectedUpload):
            if (timeout, client, since, server) != (WAIT, None, None, None):
                raise InvalidArgument("what Expect Upload returned knows what to wait for: give the arguments there")
            record = upload.value.wait()
        else:
            record = self.client(server).wait_for_upload(
                _name_of(upload.value),
                seconds(timeout),
                client=board_address(client),
                since=epoch(since),
            )
        logger.info(
            f"{record.client} has sent {printable(record.name)}, {size(record.bytes)}: {record.file}".removesuffix(": ")
        )
        return record

    @keyword("Uploaded File Should Contain", "upload", "check")
    def uploaded_file_should_contain(
        self, upload: Upload, text: str, *, encoding: str = "UTF-8", server: str | None = None
    ) -> None:
        r"""Fails unless a file that a board has sent has this text in it. Does not wait for the board.

        ``upload`` is what `Wait For Upload` returned, or what `Expect Upload` returned and was waited for; or the name
        of a file, of which the latest upload is meant. ``text`` is the text; ``\n`` is a new line. ``encoding`` is that
        of the file; bytes that it does not know do no harm. ``server`` is an alias, for a name; default: the current
        server.

        Example:
        | Start HTTP Server
        | ${upload}=    Expect Upload    results.xml    timeout=30 s
        | ${url}=    Get File URL    results.xml
        | Type On Board    wget -q -O - --post-data=passed ${url}
        | Wait For Upload    ${upload}
        | Uploaded File Should Contain    ${upload}    passed
        """
        record = self._uploaded(upload.value, server)
        content = record.read().decode(encoding, "replace")
        if text not in content:
            which = f"{record.name!r} ({size(record.bytes)} by {record.client})"
            ends = "it ends with " if len(content) > MOST_CHARACTERS else ""
            raise AssertionError(f"{which} does not contain {text!r}: {ends}{content[-MOST_CHARACTERS:]!r}")

    def _uploaded(
        self, upload: str | AcceptedUploads | ExpectedUpload | UploadRecord, server: str | None
    ) -> UploadRecord:
        if isinstance(upload, UploadRecord):
            return upload
        if isinstance(upload, ExpectedUpload):
            try:
                return upload.record
            except InvalidArgument:
                raise InvalidArgument("the upload has not been waited for: use Wait For Upload first") from None
        name = _name_of(upload)
        if name.endswith("/"):
            raise InvalidArgument(f"{name!r} is a directory: give the name of a file, or what Wait For Upload returned")
        client = self.client(server)
        known = [one for one in client.uploads if one.completed and one.name == plain(name)]
        return known[-1] if known else client.wait_for_upload(name, 0, since=0)  # which says why there is none


def _name_of(upload: str | AcceptedUploads | UploadRecord) -> str:
    return upload if isinstance(upload, str) else upload.name


def _as_accepted(name: str) -> str:
    """Return a name as what is accepted has it: that of a directory ends in `/`."""
    return plain(name) + ("/" if name.endswith("/") else "")
