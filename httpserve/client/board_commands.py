"""What to type on a board to fetch or to send a file: a table of templates, a line for each client that boards run.

Knows how each console writes a command, and what its client cannot do. Does not know the server or its files: it is
given a URL, and the digest where one is known.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from httpserve.base.arguments import StrPath
from httpserve.base.text import Hint
from httpserve.errors import InvalidArgument

Value = StrPath | int


class Target(NamedTuple):
    """What a command fetches."""

    name: str  # on the server
    url: str  # as the board sees it
    sha256: str | None = None  # its digest in hexadecimal; None: nothing is checked
    size: int = 0  # where the digest is known


def _bare(text: str) -> str:
    """Return a word for a console that knows no quotes, or not those of a shell."""
    if not re.fullmatch(r"[A-Za-z0-9._~/:%@,+=\[\]-]+", text):
        raise InvalidArgument(f"{text!r} has a character that this console takes for its own; use plain letters")
    return text


@dataclass(frozen=True, slots=True)
class Template:
    """How a client is told to fetch."""

    fetch: str  # the command
    check: str = ""  # what follows where the digest is known; empty where the client can compare nothing
    check_device: str = ""  # the same where a device was written, which is longer than the file
    values: Mapping[str, str | None] = field(default_factory=dict)  # those one may give, and defaults; None: required
    quoted: Callable[[str], str] = shlex.quote  # how the console writes a word
    ipv6: bool = True  # whether it can reach an IPv6 address
    tls: bool = True  # whether it can speak https
    directory: bool = False  # whether it fetches what is below a directory; else it fetches one file
    sends: bool = False  # whether it sends a file instead


# hash with a variable and test: `hash -v` would be shorter, but few boards have it. filesize is set first, since a
# download of nothing leaves the old one, and the old image in memory would pass.
_UBOOT_CHECK = 'hash sha256 {address} ${{filesize}} h && test "${{h}}" = {sha256}'
_UBOOT_VALUES = {"address": "${loadaddr}"}
_SHELL_VALUES = {"output": "", "device": ""}
_PYTHON_FETCH = "import sys,urllib.request as u;u.urlretrieve(*sys.argv[1:])"
_PYTHON_CHECK = (
    'import hashlib,sys;h=hashlib.sha256();f=open(sys.argv[1],"rb");'
    '[h.update(b) for b in iter(lambda:f.read(65536),b"")];'
    'sys.exit(0 if h.hexdigest()==sys.argv[2] else "sha256 differs")'
)

# docs/boards.md says where each of them is documented.
TEMPLATES: dict[str, Template] = {
    "u-boot": Template(
        "setenv httpdstp {port}; setenv filesize 0; wget {address} {host}:{path}",
        _UBOOT_CHECK,
        values=_UBOOT_VALUES,
        quoted=_bare,
        ipv6=False,
        tls=False,
    ),
    "u-boot-lwip": Template(
        "setenv filesize 0; wget {address} {url}", _UBOOT_CHECK, values=_UBOOT_VALUES, quoted=_bare, ipv6=False
    ),
    # An image of the same name that is already loaded would be found first. iPXE splits words only at blanks.
    "ipxe": Template(
        "imgfree {image} ; imgfetch --name {image} {url}",
        "sha256sum --set sum {image} && iseq ${{sum}} {sha256}",
        quoted=_bare,
    ),
    # No check: GRUB reads a file again for each command, so it would check another download.
    "grub": Template("{use} (http,{authority}){path}", values={"use": "linux"}, quoted=_bare, tls=False),
    "wget": Template(
        "wget -O {output} {url}",
        "echo {line} | sha256sum -c -",
        "sync && head -c {size} {output} | sha256sum | grep -q ^{sha256}",
        values=_SHELL_VALUES,
    ),
    "busybox": Template(
        "busybox wget -O {output} {url}",
        "echo {line} | busybox sha256sum -c -",
        "sync && busybox head -c {size} {output} | busybox sha256sum | busybox grep -q ^{sha256}",
        values=_SHELL_VALUES,
    ),
    "curl": Template(
        "curl -f -o {output} {url}",
        "echo {line} | sha256sum -c -",
        "sync && head -c {size} {output} | sha256sum | grep -q ^{sha256}",
        values=_SHELL_VALUES,
    ),
    # These three check by themselves: signatures, and the digests in what is signed.
    "rauc": Template("rauc install {url}"),
    "swupdate": Template("swupdate -d {download}"),
    "ostree": Template(
        "ostree remote add --repo={repo} --force --no-gpg-verify {remote} {url} && "
        "ostree pull --repo={repo} {remote} {ref}",
        values={"ref": None, "remote": "httpserve", "repo": "/ostree/repo"},
        directory=True,
    ),
    "python": Template(
        f"python3 -c {shlex.quote(_PYTHON_FETCH)} {{url}} {{output}}",
        f"python3 -c {shlex.quote(_PYTHON_CHECK)} {{output}} {{sha256}}",
        values={"output": ""},
    ),
}

# These send a file. U-Boot has no client that does.
_FILE = {"file": ""}
_PYTHON_SEND = (
    "import sys,urllib.request as u;"
    'print(u.urlopen(u.Request(sys.argv[1],open(sys.argv[2],"rb"),method="PUT")).read().decode())'
)
TEMPLATES |= {
    "curl-upload": Template("curl -f -g -T {file} {url}", values=_FILE, sends=True),
    "wget-upload": Template("wget -O - --post-file={file} {url}", values=_FILE, sends=True),
    # It sends a file up to its first NUL, so it says which digest the whole has: then the server refuses a part.
    "busybox-upload": Template(
        'busybox wget -O - --header "Content-Digest: sha-256=:$(busybox sha256sum <{file} | busybox cut -c1-64 | '
        'busybox xxd -r -p | busybox base64):" --post-file={file} {url}',
        values=_FILE,
        sends=True,
    ),
    "python-upload": Template(f"python3 -c {shlex.quote(_PYTHON_SEND)} {{url}} {{file}}", values=_FILE, sends=True),
}

_ADDRESS = re.compile(r"\$\{\w+\}|\$\w+|(?:0[xX])?[0-9A-Fa-f]+")
_WORD = re.compile(r"[A-Za-z0-9_]+")


def command(tool: str, wanted: Target, values: Mapping[str, Value]) -> str:
    """Return the one line that makes a client fetch, and check what came where it can. Does not block.

    Raises InvalidArgument where there is no such tool or value, one is missing or malformed, or the client cannot use
    the URL.
    """
    template = _template(tool)
    last = wanted.name.rpartition("/")[2]
    words = {**_words_of_url(tool, template, wanted.url), **_words_of_values(tool, template, values)}
    if "output" in words:
        words["output"] = words.pop("device", "") or words["output"] or _checked("output", last)
    if template.sends:
        words["file"] = words["file"] or _checked("file", last)
    words["image"] = quote(_relative(last), safe="/")
    words["download"] = f"-u {wanted.url}"
    words["size"] = str(wanted.size)
    text = template.fetch
    if wanted.sha256 is not None and template.check:
        words["sha256"] = wanted.sha256
        words["line"] = f"{wanted.sha256}  {words.get('output', '')}"
        text += f" && {template.check_device if values.get('device') else template.check}"
    used = {name for name in words if f"{{{name}}}" in text}
    # An address has been checked; the console expands a variable in it.
    return text.format(**{name: words[name] if name == "address" else template.quoted(words[name]) for name in used})


def fetches_directory(tool: str) -> bool:
    """Tell whether what a tool fetches is a directory. Raises InvalidArgument where there is no such tool."""
    return _template(tool).directory


def compares_digest(tool: str) -> bool:
    """Tell whether a tool's command can compare a digest. Raises InvalidArgument where there is no such tool."""
    return bool(_template(tool).check)


def _template(tool: str) -> Template:
    template = TEMPLATES.get(tool) if isinstance(tool, str) else None
    if template is None:
        import difflib  # only where something is wrong

        near = difflib.get_close_matches(tool.lower(), TEMPLATES, 1) if isinstance(tool, str) else []
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise InvalidArgument(f"there is no command for {tool!r}{meant}; there is one for {', '.join(TEMPLATES)}")
    return template


def _words_of_url(tool: str, template: Template, url: str) -> dict[str, str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host and not template.ipv6:
        text = "{} knows no IPv6, and {} has it; give {} or {} an IPv4 address"
        raise InvalidArgument(text, tool, url, Hint("host"), Hint("peer"))
    if parts.scheme == "https" and not template.tls:
        raise InvalidArgument(f"{tool} knows no TLS, and {url} needs it; give the board an http URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = f"[{host}]" if ":" in host else host
    # GRUB before 2.12 takes no port.
    authority = name if port == 80 else f"{name}:{port}"
    return {"url": url, "host": host, "port": str(port), "authority": authority, "path": parts.path or "/"}


def _words_of_values(tool: str, template: Template, values: Mapping[str, Value]) -> dict[str, str]:
    for name in values:
        if name not in template.values:
            known = ", ".join(f"{name}=" for name in template.values) or "none"
            raise InvalidArgument(f"the command for {tool} takes no {name}=; it takes {known}")
    if "output" in values and "device" in values:
        raise InvalidArgument("output= and device= exclude each other: a device is written instead of a file")
    words = {}
    for name, default in template.values.items():
        value = values.get(name, default)
        if value is None:
            raise InvalidArgument(f"the command for {tool} needs {name}=")
        words[name] = _checked(name, value) if name in values else str(value)
    return words


def _checked(name: str, value: object) -> str:
    if name == "address" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return hex(value)
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise InvalidArgument(f"{name}= must be text, not {value!r}")
    if name == "address" and not _ADDRESS.fullmatch(text):
        raise InvalidArgument(f"address= must be a hexadecimal number or such as ${{loadaddr}}, not {text!r}")
    if name == "use" and not _WORD.fullmatch(text):
        raise InvalidArgument(f"use= must be a command of GRUB, such as linux or initrd, not {text!r}")
    if not text or not text.isprintable() or "\\" in text:
        raise InvalidArgument(f"{name}= must be text without backslashes and control characters, not {text!r}")
    return _relative(text)


def _relative(path: str) -> str:
    """Return a path that no program takes for an option or for its standard output."""
    return f"./{path}" if path.startswith("-") else path
