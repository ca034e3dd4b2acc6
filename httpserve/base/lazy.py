"""Loads a module of the package on the first use of one of its public names. Does not know what is in it."""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package that loads its public names, from these modules, on use."""
    namespace = vars(sys.modules[package])
    module_of = {name: f"{package}.{module}" for module, names in modules.items() for name in names.split()}

    def first_use(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        return namespace.setdefault(name, getattr(import_module(module_of[name]), name))

    def names() -> list[str]:
        return sorted({*namespace, *module_of})

    return first_use, names
