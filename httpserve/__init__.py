"""httpserve: put files where the boards on a test bench can fetch them over HTTP, and know that they have them."""

from httpserve.base.lazy import lazy_names

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this package
if TYPE_CHECKING:
    from httpserve.base.arguments import StrPath
    from httpserve.base.outcome import TreeReport
    from httpserve.base.progress import Progress
    from httpserve.base.text import Hint
    from httpserve.client.client import HttpServerClient
    from httpserve.client.faults import FaultHandle, Handle, Hold
    from httpserve.client.uploads import AcceptedUploads, ExpectedUpload, UploadClient
    from httpserve.doctor import Finding, Report
    from httpserve.errors import (
        AddressError,
        AddressNotFound,
        AlreadyExists,
        CopyFailed,
        CopyIsADirectory,
        CopyNotPermitted,
        DigestMismatch,
        HttpServeError,
        InvalidArgument,
        InvalidName,
        InvalidType,
        IsADirectory,
        MissingExtra,
        NotADirectory,
        NotFound,
        NotPermitted,
        PortInUse,
        PortNotPermitted,
        RootUnusable,
        ServerNotRunning,
        SourceNotFound,
        SourceStalled,
        StorageError,
        StoreUnavailable,
        SystemFailure,
        TreeFailed,
        Unsupported,
        WaitTimeout,
    )
    from httpserve.notebook.live_table import Watch
    from httpserve.records.events import (
        ConnectionEvent,
        DownloadEvent,
        Event,
        ForgottenEvent,
        MissingEvent,
        ProgressEvent,
        RequestEvent,
        ServerEvent,
        UploadEvent,
        VersionEvent,
    )
    from httpserve.records.model import DownloadRecord, Missing, RequestRecord, Transfer, UploadRecord
    from httpserve.records.terms import Client, Clients, Until
    from httpserve.records.waits.blocks import ExpectedDownload, ExpectedRequest
    from httpserve.storage.facade import Storage
    from httpserve.storage.files import ReadFile, StorageFile, WriteFile
    from httpserve.storage.metadata import Metadata
else:  # what pytest's plugin imports at every start must cost nothing
    _MODULES = {
        "base.arguments": "StrPath",
        "base.outcome": "TreeReport",
        "base.progress": "Progress",
        "base.text": "Hint",
        "client.client": "HttpServerClient",
        "client.faults": "FaultHandle Handle Hold",
        "client.uploads": "AcceptedUploads ExpectedUpload UploadClient",
        "doctor": "Finding Report",
        "errors": "AddressError AddressNotFound AlreadyExists CopyFailed CopyIsADirectory CopyNotPermitted "
        "DigestMismatch HttpServeError InvalidArgument InvalidName InvalidType IsADirectory MissingExtra "
        "NotADirectory NotFound NotPermitted PortInUse PortNotPermitted RootUnusable ServerNotRunning "
        "SourceNotFound SourceStalled StorageError StoreUnavailable SystemFailure TreeFailed Unsupported WaitTimeout",
        "notebook.live_table": "Watch",
        "records.events": "ConnectionEvent DownloadEvent Event ForgottenEvent MissingEvent ProgressEvent RequestEvent "
        "ServerEvent UploadEvent VersionEvent",
        "records.model": "DownloadRecord Missing RequestRecord Transfer UploadRecord",
        "records.terms": "Client Clients Until",
        "records.waits.blocks": "ExpectedDownload ExpectedRequest",
        "storage.facade": "Storage",
        "storage.files": "ReadFile StorageFile WriteFile",
        "storage.metadata": "Metadata",
    }
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)

__version__ = "0.1.0"

__all__ = [
    "AcceptedUploads",
    "AddressError",
    "AddressNotFound",
    "AlreadyExists",
    "Client",
    "Clients",
    "ConnectionEvent",
    "CopyFailed",
    "CopyIsADirectory",
    "CopyNotPermitted",
    "DigestMismatch",
    "DownloadEvent",
    "DownloadRecord",
    "Event",
    "ExpectedDownload",
    "ExpectedRequest",
    "ExpectedUpload",
    "FaultHandle",
    "Finding",
    "ForgottenEvent",
    "Handle",
    "Hint",
    "Hold",
    "HttpServeError",
    "HttpServerClient",
    "InvalidArgument",
    "InvalidName",
    "InvalidType",
    "IsADirectory",
    "Metadata",
    "Missing",
    "MissingEvent",
    "MissingExtra",
    "NotADirectory",
    "NotFound",
    "NotPermitted",
    "PortInUse",
    "PortNotPermitted",
    "Progress",
    "ProgressEvent",
    "ReadFile",
    "Report",
    "RequestEvent",
    "RequestRecord",
    "RootUnusable",
    "ServerEvent",
    "ServerNotRunning",
    "SourceNotFound",
    "SourceStalled",
    "Storage",
    "StorageError",
    "StorageFile",
    "StoreUnavailable",
    "StrPath",
    "SystemFailure",
    "Transfer",
    "TreeFailed",
    "TreeReport",
    "Unsupported",
    "Until",
    "UploadClient",
    "UploadEvent",
    "UploadRecord",
    "VersionEvent",
    "WaitTimeout",
    "Watch",
    "WriteFile",
    "__version__",
]
