"""Says why nothing arrives: examines a server and its host, and says what may be wrong and what to do.

Knows what `network` finds out about this host, and what boards did. Changes nothing, and sends nothing beyond this
host, not even to a name server. Does not know the client.
"""

from __future__ import annotations

from dataclasses import replace

from httpserve.doctor.boards import look_at_connections, look_at_missing, look_at_route
from httpserve.doctor.listening import (
    look_at_bind,
    look_at_faults,
    look_at_paths,
    look_at_port,
    look_at_self_test,
    look_at_server,
    look_at_start,
    look_at_urls,
)
from httpserve.doctor.obstacles import look_at_firewall, look_at_machine
from httpserve.doctor.port_owner import listener
from httpserve.doctor.report import Finding, Report
from httpserve.doctor.situation import Situation
from httpserve.doctor.store import look_at_store

__all__ = ["Finding", "Report", "Situation", "examine"]

LOOKS = (  # in the order of the report
    look_at_server,
    look_at_start,
    look_at_faults,
    look_at_paths,
    look_at_bind,
    look_at_port,
    look_at_urls,
    look_at_self_test,
    look_at_route,
    look_at_machine,
    look_at_firewall,
    look_at_missing,
    look_at_connections,
)


def examine(situation: Situation) -> Report:
    """Examine everything. Blocks for some milliseconds, at most about 2 s if the server does not answer."""
    if situation.bound is None:
        other = listener(situation.host, situation.peer, situation.port)
        if other is not None:
            situation = replace(situation, bound=other.host, other=other)
    found = [finding for look in LOOKS for finding in look(situation)]
    return Report((*found, *(look_at_store(situation.store) if situation.store is not None else ())))
