"""One test of many cases that take no fixture, as pytest takes milliseconds for each test; and what a call raises."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Test = Callable[..., None]
Ids = Iterable[str] | Callable[[Any], str]


def each(names: str | Sequence[str], cases: Iterable[Any], ids: Ids = repr) -> Callable[[Test], Test]:
    """Run a test for each case in turn; takes what `pytest.mark.parametrize` does. A failure names its case."""
    keys = names.replace(",", " ").split() if isinstance(names, str) else names
    known = list(cases)
    label = ids if callable(ids) else list(ids).__getitem__

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def all_cases(**others: Any) -> None:
            for number, case in enumerate(known):
                is_param = hasattr(case, "marks")  # made by pytest.param
                values = case.values if is_param else [case] if len(keys) == 1 else case
                try:
                    test(**dict(zip(keys, values, strict=True)), **others)
                except BaseException as error:
                    error.add_note(f"the case: {(is_param and case.id) or label(case if callable(ids) else number)}")
                    raise

        signature = inspect.signature(test)
        others = [parameter for name, parameter in signature.parameters.items() if name not in keys]
        all_cases.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]  # where pytest looks
        return all_cases

    return decorate


def raised(call: Callable[..., object], *arguments: object) -> Exception | None:
    """Return what a call raises, or None: of a check that nothing is wrong, that is all there is to tell."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 - the test judges it
        return error
    return None
