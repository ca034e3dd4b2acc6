"""Names: what a file is called on the server, and the one place that checks them.

Knows which names are legal and what their normal form is. Does not know the
disk: whether a symlink leads out of the root is seen where the path is used.
"""

from __future__ import annotations

import os
import re

from httpserve.errors import InvalidName, InvalidType

RESERVED_PREFIX = ".httpserve-"  # temporaries and journals, which no request or listing shows
COMPONENT_BYTES = 255  # NAME_MAX of every file system in common use
MOST_CHARACTERS = 4095  # PATH_MAX of Linux, which no system in common use exceeds, in bytes and with a NUL at the end
MOST_COMPONENTS = 255  # each costs a look at the disk where symlinks are followed

# Most names are of this form and need no second look.
_COMPONENT = r"[A-Za-z0-9_+@=~-][A-Za-z0-9._+@=~-]{0,199}"
_URL = re.compile(r"https?://", re.IGNORECASE)
_PLAIN = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


def is_reserved(component: str) -> bool:
    """Say whether a single component of a path is one of our own files."""
    return component.startswith(RESERVED_PREFIX)


def checked_name(raw: str | os.PathLike[str], *, directory: bool = False) -> str:
    """Return the normal form of a name from users, URLs or operators. Neither blocks nor touches the disk.

    The normal form has no leading `/`, no trailing `/`, and no empty or `.` component.

    Args:
        raw: the name; a leading `/` makes no difference.
        directory: accept a name that ends in `/`, and the root itself, whose normal form is empty.

    Raises:
        InvalidName: the name leads out of the root, would come back changed, is one of our own
            temporaries, is longer or deeper than the disk could hold, or (without *directory*) means a directory.
        InvalidType: the name is neither text nor a path.
    """
    text = raw if isinstance(raw, str) else _text_of(raw)
    if len(text) > MOST_CHARACTERS:  # before any work that grows with it
        raise InvalidName(text, f"it has {len(text)} characters, and {MOST_CHARACTERS} is the most")
    plain = text.lstrip("/")
    if plain.count("/") < MOST_COMPONENTS and _PLAIN.fullmatch(plain):
        return plain
    components = [part for part in text.split("/") if part not in ("", ".")]
    if len(components) > MOST_COMPONENTS:
        raise InvalidName(text, f"it has {len(components)} components, and {MOST_COMPONENTS} is the most")
    name = "/".join(components)
    if not directory:
        if not name:
            raise InvalidName(text, "it is empty, or the root itself, and a file is meant")
        if text.endswith(("/", "/.")):
            raise InvalidName(text, "it ends in '/' as directories do, and a file is meant")
    _check_text(text, name)
    for component in components:
        _check_component(text, component)
    return name


def is_name(text: str) -> bool:
    """Tell whether a file may have this name, in its normal form."""
    try:
        return checked_name(text) == text
    except InvalidName:
        return False


def _text_of(raw: object) -> str:
    text = os.fspath(raw) if isinstance(raw, os.PathLike) else raw
    if not isinstance(text, str):
        raise InvalidType(f"a name is a str or a path, not {type(text).__name__}")
    return text


def _check_text(text: str, name: str) -> None:
    if _URL.match(text):
        raise InvalidName(text, "it is a URL, and the name on the server is meant")
    if "\0" in name:
        raise InvalidName(text, "it contains a NUL")
    if "\\" in name:
        raise InvalidName(text, "it contains a backslash; components are parted by '/'")
    # str.strip() removes everything that Rust calls White_Space, and U+001C to U+001F as well.
    if name != name.strip():
        raise InvalidName(text, "it begins or ends with a blank")


def _check_component(text: str, component: str) -> None:
    if component == "..":
        raise InvalidName(text, "'..' would leave the root")
    if is_reserved(component):
        raise InvalidName(text, f"names that begin with {RESERVED_PREFIX!r} are for temporary files")
    try:
        size = len(component.encode())
    except UnicodeEncodeError:
        raise InvalidName(text, "it contains a lone surrogate, which UTF-8 cannot express") from None
    if size > COMPONENT_BYTES:
        raise InvalidName(text, f"a component of it has {size} bytes, and {COMPONENT_BYTES} is the most")
