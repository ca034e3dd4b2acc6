"""The lines to type: each is quoted for its console, or refused. Run for real in tests/boards/test_commands.py."""

from __future__ import annotations

import re
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from httpserve.base.text import url_path
from httpserve.client.board_commands import TEMPLATES, Target, command
from httpserve.errors import InvalidArgument
from tests.cases import each

DIGEST = "0123456789abcdef" * 4
BASE = "http://192.168.7.1:8080"
NAMES = [
    "board.img",
    "boot/disk image.img",
    'it\'s "a" file',
    "a;b&&c|d`e`$(f)${g}#h!",
    "-rf",
    "ü/日本",
    "a\nb",
    "%",
    "*?[x]",
]
SHELL_TOOLS = ["wget", "busybox", "curl", "rauc", "swupdate", "python", "ostree"]
SENDERS = ["curl-upload", "wget-upload", "python-upload"]
NESTED = ["busybox-upload"]  # what stands in $() has quotes of its own, which a real shell reads
CONSOLES = ["u-boot", "u-boot-lwip", "ipxe", "grub"]
NEEDED: dict[str, dict[str, Any]] = {"ostree": {"ref": "main"}}


def wanted(name: str = "boot/board.img", *, digest: bool = True, base: str = BASE) -> Target:
    return Target(name, f"{base}/{url_path(name)}", DIGEST if digest else None, 1000)


def line(tool: str, name: str = "boot/board.img", *, digest: bool = True, base: str = BASE, **values: Any) -> str:
    return command(tool, wanted(name, digest=digest, base=base), {**NEEDED.get(tool, {}), **values})


def elsewhere(tool: str) -> dict[str, Any]:
    """Return values by which the file on the board has another name, where a tool takes any."""
    return {key: "f" for key in ("output", "file") if key in TEMPLATES[tool].values}


EXPECTED = {
    "u-boot": (
        "setenv httpdstp 8080; setenv filesize 0; wget ${loadaddr} 192.168.7.1:/boot/board.img",
        f' && hash sha256 ${{loadaddr}} ${{filesize}} h && test "${{h}}" = {DIGEST}',
    ),
    "u-boot-lwip": (
        "setenv filesize 0; wget ${loadaddr} http://192.168.7.1:8080/boot/board.img",
        f' && hash sha256 ${{loadaddr}} ${{filesize}} h && test "${{h}}" = {DIGEST}',
    ),
    "ipxe": (
        "imgfree board.img ; imgfetch --name board.img http://192.168.7.1:8080/boot/board.img",
        f" && sha256sum --set sum board.img && iseq ${{sum}} {DIGEST}",
    ),
    "grub": ("linux (http,192.168.7.1:8080)/boot/board.img", ""),
    "wget": (
        "wget -O board.img http://192.168.7.1:8080/boot/board.img",
        f" && echo '{DIGEST}  board.img' | sha256sum -c -",
    ),
    "busybox": (
        "busybox wget -O board.img http://192.168.7.1:8080/boot/board.img",
        f" && echo '{DIGEST}  board.img' | busybox sha256sum -c -",
    ),
    "curl": (
        "curl -f -o board.img http://192.168.7.1:8080/boot/board.img",
        f" && echo '{DIGEST}  board.img' | sha256sum -c -",
    ),
    "rauc": ("rauc install http://192.168.7.1:8080/boot/board.img", ""),
    "swupdate": ("swupdate -d '-u http://192.168.7.1:8080/boot/board.img'", ""),
    "ostree": (
        "ostree remote add --repo=/ostree/repo --force --no-gpg-verify httpserve "
        "http://192.168.7.1:8080/boot/board.img && ostree pull --repo=/ostree/repo httpserve main",
        "",
    ),
    "curl-upload": ("curl -f -g -T board.img http://192.168.7.1:8080/boot/board.img", ""),
    "wget-upload": ("wget -O - --post-file=board.img http://192.168.7.1:8080/boot/board.img", ""),
    "busybox-upload": (
        'busybox wget -O - --header "Content-Digest: sha-256=:$(busybox sha256sum <board.img | busybox cut -c1-64 | '
        'busybox xxd -r -p | busybox base64):" --post-file=board.img http://192.168.7.1:8080/boot/board.img',
        "",
    ),
}


@each("tool", EXPECTED)
def test_the_line_of(tool: str) -> None:
    fetch, check = EXPECTED[tool]

    assert line(tool) == fetch + check
    assert line(tool, digest=False) == fetch


def test_each_tool_is_tested_here() -> None:
    assert set(TEMPLATES) == {*EXPECTED, "python", "python-upload"} == {*SHELL_TOOLS, *SENDERS, *NESTED, *CONSOLES}


@each("tool", TEMPLATES)
@each("name", NAMES)
def test_a_line_stays_one_line_whatever_the_name(tool: str, name: str) -> None:
    text = line(tool, name, **elsewhere(tool))

    assert text.isprintable()


@each("tool", [*SHELL_TOOLS, *SENDERS])
@each("name", NAMES)
def test_a_shell_reads_the_same_words_whatever_the_name(tool: str, name: str) -> None:
    plain = shlex.split(line(tool, "x").replace("|", " ").replace("&&", " "))
    values = elsewhere(tool) if "\n" in name else {}

    words = shlex.split(line(tool, name, **values))

    operators = [word for word in words if word in ("&&", "|")]
    assert len(words) - len(operators) == len(plain)
    assert any(f"{BASE}/{url_path(name)}" in word for word in words)


@each("tool", CONSOLES)
@each("name", NAMES)
def test_a_console_sees_nothing_of_its_own_in_a_name(tool: str, name: str) -> None:
    def rest(text: str) -> str:
        return text.replace(url_path(name), "N").replace(url_path(name.rpartition("/")[2]), "N").replace("./N", "N")

    assert rest(line(tool, name)) == rest(line(tool, "plain").replace("plain", url_path(name)))
    assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", url_path(name))


@each("tool", ["wget", "busybox", "curl", "python"])
def test_a_name_that_looks_like_an_option_is_none(tool: str) -> None:
    assert " ./-rf" in line(tool, "-rf")
    assert " ./-" in line(tool, output="-")


@each("tool", ["wget", "busybox", "curl", "python"])
def test_the_file_can_go_elsewhere(tool: str) -> None:
    text = line(tool, output=PurePosixPath("/tmp/the image"))

    assert "'/tmp/the image'" in text
    assert "board.img " not in text.replace("boot/board.img", "")


@each("tool", ["wget", "busybox", "curl"])
def test_of_a_device_only_the_bytes_of_the_file_are_compared(tool: str) -> None:
    text = line(tool, device="/dev/mmcblk0p2")

    assert " /dev/mmcblk0p2 http://" in text
    assert "head -c 1000 /dev/mmcblk0p2 | " in text
    assert text.endswith(f"grep -q ^{DIGEST}")
    assert "sha256" not in line(tool, device="/dev/mmcblk0p2", digest=False)


@each("address", ["${kernel_addr_r}", "$loadaddr", "0x80000000", "80000000", 0x80000000])
def test_u_boot_loads_to_the_address_given(address: str | int) -> None:
    expected = hex(address) if isinstance(address, int) else address

    assert line("u-boot", address=address).count(expected) == 2
    assert f"wget {expected} http" in line("u-boot-lwip", address=address)


@each("address", ["", "; reset", "80000000 1", "${a}; reset", "$(a)", "loadaddr", -1, True, 1.5])
def test_what_is_no_address_is_refused(address: Any) -> None:
    with pytest.raises(InvalidArgument, match="address"):
        line("u-boot", address=address)


def test_grub_can_be_told_what_to_do_with_the_file() -> None:
    assert line("grub", use="initrd") == "initrd (http,192.168.7.1:8080)/boot/board.img"
    with pytest.raises(InvalidArgument, match="use"):
        line("grub", use="linux x; reboot")


def test_the_port_of_http_is_left_out_for_grub_as_older_ones_take_none() -> None:
    assert line("grub", base="http://bench:80") == "linux (http,bench)/boot/board.img"
    assert line("grub", base="http://bench") == "linux (http,bench)/boot/board.img"
    assert line("u-boot", base="http://bench").startswith("setenv httpdstp 80; ")


@each("tool", ["u-boot", "u-boot-lwip"])
def test_u_boot_is_given_no_ipv6(tool: str) -> None:
    with pytest.raises(InvalidArgument, match=r"IPv6.*peer="):
        line(tool, base="http://[fd00::1]:8080")


def test_others_are_given_ipv6_in_brackets() -> None:
    base = "http://[fd00::1]:8080"

    assert line("grub", base=base) == "linux (http,[fd00::1]:8080)/boot/board.img"
    assert f" {base}/boot/board.img" in line("ipxe", base=base)
    assert shlex.split(line("curl", base=base))[4] == f"{base}/boot/board.img"


@each("tool", ["u-boot", "grub"])
def test_who_knows_no_tls_is_given_no_https(tool: str) -> None:
    with pytest.raises(InvalidArgument, match="TLS"):
        line(tool, base="https://bench")


def test_https_keeps_its_port() -> None:
    assert "https://bench/boot/board.img" in line("u-boot-lwip", base="https://bench")


@each("tool", CONSOLES)
@each("prefix", ["a;reset", "${a}", "$a", "a&b", "it's", "(a)", "a!b"])
def test_a_prefix_that_a_console_would_take_apart_is_refused(tool: str, prefix: str) -> None:
    with pytest.raises(InvalidArgument, match="character"):
        line(tool, base=f"http://bench/{prefix}")


@each("tool", ["U-Boot", "tftp", "", None, 1])
def test_an_unknown_tool_lists_the_known_ones(tool: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        command(tool, wanted(), {})

    for known in TEMPLATES:
        assert known in str(caught.value)


@each("tool", ["wget", "busybox", "curl"])
def test_a_device_is_not_written_beside_a_file(tool: str) -> None:
    with pytest.raises(InvalidArgument, match="output= and device= exclude each other"):
        command(tool, Target("boot/Image", "http://192.168.7.1/boot/Image"), {"output": "a", "device": "/dev/mmcblk0"})


@each("tool", TEMPLATES)
def test_an_unknown_value_lists_the_known_ones(tool: str) -> None:
    with pytest.raises(InvalidArgument, match="takes no colour=") as caught:
        line(tool, colour="red")

    assert all(f"{known}=" in str(caught.value) for known in TEMPLATES[tool].values)


def test_ostree_needs_a_ref() -> None:
    with pytest.raises(InvalidArgument, match="needs ref="):
        command("ostree", wanted(), {})


@each("value", ["", "a\nb", "a\\b", "\x1b[2J", b"a", 1, None, True])
@each("name", ["output", "device"])
def test_a_path_that_no_line_can_hold_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=name):
        line("curl", **{name: value})


@each("tool", ["wget", "busybox", "curl", "python"])
def test_a_name_that_no_line_can_hold_needs_an_output(tool: str) -> None:
    with pytest.raises(InvalidArgument, match="output="):
        line(tool, "a\nb")

    assert "%0Ab" in line(tool, "a\nb", output="f")


def test_a_value_that_looks_like_an_option_is_none() -> None:
    assert "--help" not in [word for word in shlex.split(line("ostree", ref="--help")) if word == "--help"]


def test_u_boot_lines_fit_its_console() -> None:
    # CONFIG_SYS_CBSIZE is 512 on i.MX and x86, 1024 elsewhere, 256 on PowerPC and M68K.
    assert len(line("u-boot")) < 256
    assert len(line("u-boot-lwip")) < 256


@each("tool", TEMPLATES)
def test_the_docs_show_the_line_as_it_is(tool: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "boards.md").read_text(encoding="utf-8")

    shown = line(tool, "board.img", base="http://192.168.7.1:8000").replace(DIGEST, "DIGEST")

    assert f"\n{shown}\n" in page
