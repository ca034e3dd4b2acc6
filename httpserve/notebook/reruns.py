"""A notebook's variables and the servers that they hold: a cell that is run again replaces its server.

Knows IPython's shell, where there is one, and reads its variables. Does not know what a server is, beyond that it
runs, has a port and can be closed.

In a notebook the old object of a variable often lives on: the history of outputs keeps what a cell has shown, and a
traceback what it went through. Its server would keep the port, and the cell would work once.
"""

from __future__ import annotations

import ast
import gc
import re
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, Protocol

from httpserve.base.log import logger

log = logger("httpserve.client")

_HISTORY = re.compile(r"_+|_i*\d*|_[iod]h|In|Out")  # IPython's own names for what was run and shown
_CONTAINERS = (list, tuple, set, frozenset, dict)
_MOST_ITEMS = 1000  # of a container; a longer one holds data
_NO_NAMES: frozenset[str] = frozenset()
# What has names of its own, which are no variables of the notebook.
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


class Server(Protocol):
    """What is asked of a client."""

    @property
    def is_running(self) -> bool: ...

    def get_port(self) -> int: ...

    def close(self) -> None: ...


class Variables:
    """Which variables of one shell hold which servers. Only for the thread that runs the cells.

    When a variable gets another server, the one that it held before is closed if no other variable holds it: at the
    start of the one that has taken its place, or that is about to, when both want one port; at the end of the cell
    in any case. A variable holds what it is, and what is an attribute or an item of it. A server that never was a
    variable's at the end of a cell is left alone, and so is one whose variable was deleted or holds no server.
    """

    def __init__(self, shell: Any) -> None:  # IPython has no types, and is not imported here
        self._shell = shell
        self._cell = ""
        self._held: weakref.WeakKeyDictionary[Server, frozenset[str]] = weakref.WeakKeyDictionary()
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    def before_start(self, server: Server, port: int) -> None:
        """Close what `server` replaces, and remember it. Blocks as `close` does.

        Args:
            server: It is about to listen.
            port: Where; 0: anywhere.
        """
        for old in self._running():
            if old is not server and self._is_replaced(old, server, port):
                self._close(old)
        self._held.setdefault(server, _NO_NAMES)

    def _is_replaced(self, old: Server, new: Server, port: int) -> bool:
        were = self._held[old]
        are = self._names(old)
        if not were or not are <= were:
            return False
        taken = self._names(new)
        if not are and were <= taken:
            return True
        # The cell that runs says that the variable will hold another one when it has run.
        return port != 0 and port == old.get_port() and were <= taken | self._assigned()

    def _assigned(self) -> frozenset[str]:
        return assigned(str(self._shell.transform_cell(self._cell)))  # without magics

    def _variables(self) -> Mapping[str, object]:
        return dict(self._shell.user_ns)  # a copy, as other threads may add to it

    def _names(self, server: Server) -> frozenset[str]:
        variables = self._variables().items()
        return frozenset(name for name, value in variables if not _HISTORY.fullmatch(name) and holds(value, server))

    def _running(self) -> list[Server]:
        return [server for server in list(self._held) if server.is_running]

    def _before_cell(self, info: Any) -> None:  # IPython's ExecutionInfo
        self._cell = str(info.raw_cell)

    def _after_cell(self, result: object) -> None:
        for server in self._running():
            names = self._names(server)
            if names:
                self._held[server] = names
        for server in self._running():
            were = self._held[server]
            if were and not self._names(server) and all(self._holds_server(name) for name in were):
                self._close(server)

    def _holds_server(self, name: str) -> bool:
        value = self._shell.user_ns.get(name)
        return any(holds(value, server) for server in list(self._held))

    def _close(self, server: Server) -> None:
        names = ", ".join(sorted(self._held.pop(server)))
        log.info("closing the server at port %d: another one has taken its place in %s", server.get_port(), names)
        server.close()


def holds(value: object, server: Server) -> bool:
    """Tell whether a value is the server, or has it as an attribute or an item. Runs no code of the value's class."""
    if value is server:
        return True
    if isinstance(value, (ModuleType, FunctionType, type)):  # they know all variables
        return False
    is_container = type(value) in _CONTAINERS
    if is_container and len(value) > _MOST_ITEMS:  # type: ignore[arg-type]  # it has a length
        return False
    for inner in gc.get_referents(value):
        if inner is server:
            return True
        if type(inner) is dict and not is_container and any(item is server for item in tuple(inner.values())):
            return True  # the dictionary of its attributes
    return False


def assigned(source: str) -> frozenset[str]:
    """Return the variables that a cell assigns when it runs, functions and classes in it left out."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return _NO_NAMES
    return frozenset(_stored(tree))


def _stored(tree: ast.AST) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)


_lock = threading.Lock()  # guards _of_shell
_of_shell: weakref.WeakKeyDictionary[Any, Variables] = weakref.WeakKeyDictionary()


def before_start(server: Server, port: int) -> None:
    """Close what a server replaces that is about to start in a cell. Does nothing outside of IPython.

    Blocks as `close` does. A start in another thread than that of the cells replaces nothing.
    """
    ipython = sys.modules.get("IPython")
    if ipython is None or threading.current_thread() is not threading.main_thread():
        return
    shell = ipython.get_ipython()
    if shell is None:
        return
    with _lock:
        variables = _of_shell.get(shell)
        if variables is None:
            variables = _of_shell[shell] = Variables(shell)
    variables.before_start(server, port)
