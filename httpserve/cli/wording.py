"""Says in the words of the command line what the package says in those of Python: `-b 0.0.0.0` for `host='0.0.0.0'`.

Knows how the messages write arguments and calls, and which option each is. Does not know when they are said.
"""

from __future__ import annotations

import re
import shlex

from httpserve import AddressError, HttpServeError, InvalidArgument

OPTIONS = {
    "host": "-b",
    "port": "-p",
    "peer": "--peer",
    "advertise": "--advertise",
    "wait_for_address": "--wait-for-address",
}

PHRASES = {  # what is more than the name of an argument, and what a shell would do instead
    "call start(wait_for_address=30)": "pass --wait-for-address 30",
    "start(wait_for_address=30)": "--wait-for-address 30",
    "start() without waiting": "leave --wait-for-address out",
    ", or get_url(peer=)": "",
    "a server of this script that was not closed": "another httpserve",
    "see in client.transfers whether max_connections are busy; if none is, ": "",
}
_PHRASE = re.compile("|".join(map(re.escape, sorted(PHRASES, key=len, reverse=True))))
_NAME = rf"(?<![\w-])(?P<name>{'|'.join(OPTIONS)})="
_VALUE = r"(?:(?P<quote>['\"])(?P<text>.*?)(?P=quote)|(?P<none>None\b)|(?P<number>\d+))?"
_ARGUMENT = re.compile(_NAME + _VALUE)


def told(error: HttpServeError) -> str:
    """Return what an error says, in one line. Of others than these two the text is about files, and stays."""
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return in_words_of_the_shell(text) if isinstance(error, AddressError | InvalidArgument) else text


def in_words_of_the_shell(message: str) -> str:
    """Return a message, or what to do next, with options in place of arguments and calls."""
    return _ARGUMENT.sub(_option, _PHRASE.sub(lambda found: PHRASES[found[0]], message))


def _option(found: re.Match[str]) -> str:
    name = OPTIONS[found["name"]]
    if found["none"]:
        return f"no {name}"
    if found["text"] is not None:
        return f"{name} {shlex.quote(found['text'])}"
    return f"{name} {found['number']}" if found["number"] else name
