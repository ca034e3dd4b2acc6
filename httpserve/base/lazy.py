"""Loads a module of the package when one of its public names is used first.

Knows modules by their names. Does not know what is in them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module


def public_names(package: str, modules: tuple[str, ...]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package whose `__all__` says what is in its modules.

    The modules are asked in turn, so the cheapest comes first. A name is looked for once: it stays in the package.

    Args:
        package: The package's full name.
        modules: Those of its modules that define the public names.
    """
    namespace = vars(sys.modules[package])

    def first_use(name: str) -> object:
        if name in namespace.get("__all__", ()):
            for module in modules:
                loaded = import_module(f"{package}.{module}")
                if name in vars(loaded):
                    return namespace.setdefault(name, getattr(loaded, name))
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])

    def names() -> list[str]:
        return sorted({*namespace, *namespace["__all__"]})

    return first_use, names
