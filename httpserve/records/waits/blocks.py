"""What must begin inside a `with` block: waits that start counting before a board is made to fetch.

Knows claims and the waits. Knows no names and no files.
"""

from __future__ import annotations

from typing import Self

from httpserve.base.progress import Progress
from httpserve.errors import InvalidArgument, ServerNotRunning
from httpserve.records.claims import Claims
from httpserve.records.model import DownloadRecord, RequestRecord
from httpserve.records.selection import Selection
from httpserve.records.waits.download import DownloadTerms, wait_for_download
from httpserve.records.waits.request import RequestTerms, wait_for_request


class ExpectedDownload:
    """A download that has to begin inside a `with` block. `record` and `records` hold it afterwards."""

    def __init__(self, claims: Claims, terms: DownloadTerms, progress: Progress, *, is_one: bool) -> None:
        self._claims = claims
        self._terms = terms
        self._progress = progress
        self._is_one = is_one
        self._selection: Selection | None = claims.select_from_now(terms.name, terms.boards)
        self._records: list[DownloadRecord] | None = None

    def __repr__(self) -> str:
        return f"<expected download of {self._terms.name}>"

    @property
    def record(self) -> DownloadRecord:
        """The download; of several, the first. Raises InvalidArgument before it has been waited for."""
        return self.records[0]

    @property
    def records(self) -> list[DownloadRecord]:
        """The downloads, one for each client. Raises InvalidArgument before they have been waited for."""
        if self._records is None:
            raise InvalidArgument(f"the download of {self._terms.name!r} has not been waited for yet; leave the block")
        return self._records

    def wait(self) -> DownloadRecord | list[DownloadRecord]:
        """Block until the download is there, and return what `wait_for_download` returns. For use without `with`.

        Raises:
            WaitTimeout: It did not happen in time; the message says what did.
            ServerNotRunning: The server was stopped meanwhile.
            NotFound: The file was removed meanwhile.
            InvalidArgument: `close` has ended it.
        """
        if self._records is None:
            try:
                if self._selection is not None:
                    terms = self._terms._replace(can_come=self._can_come)
                    self._records = wait_for_download(self._claims, terms, self._selection, progress=self._progress)
            except ServerNotRunning:
                if self._selection is not None:
                    raise
            finally:
                self.close()
        if self._records is None:
            raise InvalidArgument(f"the wait for {self._terms.name!r} is over; expect the download again")
        return self.record if self._is_one else self.records

    def _can_come(self) -> bool:
        return self._selection is not None and self._terms.can_come()

    def close(self) -> None:
        """Wait no longer: a `wait` in another thread ends. Harmless when repeated; done at the end of the block."""
        selection, self._selection = self._selection, None
        if selection is not None:
            self._claims.end(selection)
            self._claims.log.wake()

    def __enter__(self) -> Self:
        if self._selection is not None:  # what came between the call and the block does not count
            self._claims.end(self._selection)
        self._selection = self._claims.select_from_now(self._terms.name, self._terms.boards)
        self._records = None
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        if kind is None:
            self.wait()
        else:
            self.close()


class ExpectedRequest:
    """A request that has to come inside a `with` block. `record` holds it afterwards."""

    def __init__(self, claims: Claims, terms: RequestTerms) -> None:
        self._claims = claims
        self._terms = terms
        self._first = claims.log.next_number
        self._record: RequestRecord | None = None

    @property
    def record(self) -> RequestRecord:
        """The request. Raises InvalidArgument before it has been waited for."""
        if self._record is None:
            raise InvalidArgument(f"the {self._terms.asked} has not been waited for; leave the block first")
        return self._record

    def wait(self) -> RequestRecord:
        """Block until the request is there, and return its record. For use without `with`.

        Raises:
            WaitTimeout: It did not come in time; the message says what did.
            ServerNotRunning: The server was stopped meanwhile.
        """
        if self._record is None:
            self._record = wait_for_request(self._claims, self._terms, self._first)
        return self._record

    def __enter__(self) -> Self:
        self._record = None
        self._first = self._claims.log.next_number
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        if kind is None:
            self.wait()
