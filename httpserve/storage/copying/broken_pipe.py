"""Keeps a lost connection from ending the process by SIGPIPE, where a script has set that to its default.

Knows the signal mask of a thread. Knows nothing of connections.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def sigpipe_held() -> Iterator[None]:
    """Let writes in the block fail with EPIPE, without killing the process. The mask is restored.

    Python ignores SIGPIPE. Tools whose output is piped often set it to SIG_DFL, so that `tool | head` ends quietly.
    send() without MSG_NOSIGNAL, as Python and OpenSSL call it, raises it for sockets as well.
    """
    if signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
        yield
    finally:
        if signal.SIGPIPE not in before:
            try:
                _take_pending()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPIPE,))


def _take_pending() -> None:
    if signal.SIGPIPE in signal.sigpending():
        if hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait((signal.SIGPIPE,), 0)
        else:  # pragma: no cover - macOS, where it is pending for this thread and so returns at once
            signal.sigwait((signal.SIGPIPE,))
