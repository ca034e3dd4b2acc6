"""The lines of the access log.

Knows records. Does not know when a line is written, or by which thread.
"""

from __future__ import annotations

import logging

from httpserve.base.log import logger, say
from httpserve.records.model import RequestRecord

access = logger("httpserve.access")


def log_access(record: RequestRecord) -> None:
    """Write one line to `httpserve.access`."""
    if not record.status:
        say(access, logging.INFO, "%s connection refused fault %s", record.client, record.fault)
        return
    say(
        access,
        logging.INFO,
        '%s "%s" %d %d bytes %.3f s "%s"%s%s%s',
        record.client,
        _in_quotes(f"{record.method} {record.target}" if record.method else record.target),
        record.status,
        record.bytes,
        record.seconds,
        _in_quotes(record.user_agent),
        f" range {record.range}" if record.range else "",
        "" if record.completed else f" {record.outcome}",
        f" fault {record.fault}" if record.fault else "",
    )


def _in_quotes(text: str) -> str:
    """Return a text that cannot end its quotes, as nginx writes it: else a board could write the rest of the line."""
    return text.replace('"', "\\x22")
