"""Loads a module of the package when one of its public names is used first.

Knows modules by their names. Does not know what is in them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package whose public names lie in its modules.

    A name is looked for once: it stays in the package.

    Args:
        package: The package's full name.
        modules: Which names each of its modules defines; the module's name is that below the package.
    """
    namespace = vars(sys.modules[package])
    module_of = {name: f"{package}.{module}" for module, names in modules.items() for name in names}

    def first_use(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        return namespace.setdefault(name, getattr(import_module(module_of[name]), name))

    def names() -> list[str]:
        return sorted({*namespace, *module_of})

    return first_use, names
