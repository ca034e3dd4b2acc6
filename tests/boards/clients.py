"""The clients of the matrix of faults: what each fetches, by which line, and where it leaves what it got.

Knows the command lines of the clients, and how to make what they fetch. Knows no fault.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tests.boards import machines
from tests.boards.machines import UBOOT
from tests.boards.programs import digest, noise, run

SIZE = 200_017
PLAIN_REQUESTS = """
import sys, requests
answer = requests.get(sys.argv[1])
answer.raise_for_status()
open("got", "wb").write(answer.content)
"""
REQUESTS_WITH_RETRY = """
import sys, requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry
session = requests.Session()
again = Retry(total=3, backoff_factor=0.1, status_forcelist=[429, 500, 502, 503])
session.mount("http://", HTTPAdapter(max_retries=again))
answer = session.get(sys.argv[1], timeout=2)
answer.raise_for_status()
open("got", "wb").write(answer.content)
"""
DESCRIPTION = """software = {
    version = "%s";
    hardware-compatibility: ["1.0"];
    files: ({filename = "image"; path = "installed"; sha256 = "%s";});
}
"""
MANIFEST = """[update]
compatible=board
version=%s

[bundle]
format=verity

[image.rootfs]
filename=got
"""


@dataclass(frozen=True)
class Content:
    """What a client fetches.

    Attributes:
        files: What the server has, by name.
        asked: The name that the client is given.
        met: The name of the file that meets the faults.
        old: What a cache has of `entry`: a whole version before this one.
        right: What the client has at the end if all is well.
        before: What it has if it takes the version before.
        entry: The file that changes with each version, where that is not `met`.
        has: The files that it has at the beginning.
    """

    files: dict[str, bytes]
    asked: str
    met: str
    old: bytes
    right: bytes
    before: bytes
    entry: str = ""
    has: dict[str, bytes] = field(default_factory=dict)


FILE = Content({"fw.bin": noise(SIZE, 2)}, "fw.bin", "fw.bin", noise(SIZE, 1), noise(SIZE, 2), noise(SIZE, 1))


@dataclass(frozen=True)
class Client:
    """A client with one way to use it.

    Attributes:
        name: As the matrix has it.
        line: What is typed, with `{url}` for where to fetch from; or words, of which the last one is what is fetched.
        programs: What has to be installed.
        make: Makes what it fetches.
        got: Where it leaves what it got.
        command: The client of `HttpServerClient.command` whose line is typed, or is the last word.
        at_once: How many of it may run at a time; 0: as many as of all others.
        tries: How often it may fail or hang, where it does so at times without any fault.
        product: What its behaviour depends on the version of; empty: the first of its programs.
        advertise: How it sees this host.
    """

    name: str
    line: str | Sequence[str] = ""
    programs: tuple[str, ...] = ()
    make: Callable[[Path], Content] = field(default=lambda _: FILE)
    got: str = "got"
    command: str = ""
    at_once: int = 0
    tries: int = 1
    product: str = ""
    advertise: str | None = None

    @property
    def missing(self) -> str:
        """The first of its programs that is not installed here; empty: none."""
        lacking = (one for one in self.programs if not (shutil.which(one) or ("/" in one and Path(one).is_file())))
        return next(lacking, "")

    @property
    def version(self) -> tuple[str, str]:
        """The product, and its version where it says one."""
        product = self.product or self.programs[0]
        if product == "urllib3":
            return product, metadata.version(product)
        command = [product] if product == "busybox" else [product, "--version"]
        done = run(*command, cwd=Path(), ok=False)
        found = re.search(r"(?<![\w.])v?(\d+(?:\.\d+)*)", done.stdout + done.stderr)
        return product, found[1] if found else ""

    def words(self, url: str, top: str, line: str) -> list[str]:
        """Return the command that fetches, as words; `line` is that of `command`."""
        if not isinstance(self.line, str):
            return [*self.line, line or url]
        return ["sh", "-c", line or self.line.format(url=url, top=top)]


def large_file(where: Path) -> Content:
    """Return a file that is worth several connections."""
    old, new = noise(3 << 20, 1), noise(3 << 20, 2)
    return Content({"fw.bin": new}, "fw.bin", "fw.bin", old, new, old)


def zchunk(where: Path) -> Content:
    """Return a file of zchunk, of many chunks."""
    old, new = (_packed(where, version) for version in (1, 2))
    return Content({"fw.zck": new}, "fw.zck", "fw.zck", old, new, old)


def _packed(where: Path, version: int) -> bytes:
    source = where / f"fw{version}"
    source.write_bytes(b"".join(noise(5000, version * 1000 + number) + bytes(500) for number in range(40)))
    run("zck", "-o", f"fw{version}.zck", source, cwd=where)
    return (where / f"fw{version}.zck").read_bytes()


def casync(where: Path) -> Content:
    """Return an index of casync, and the store of its chunks and of those of the version before."""
    old, new = noise(SIZE, 1), noise(SIZE, 2)
    for version, data in enumerate((old, new), 1):
        (where / f"fw{version}").write_bytes(data)
        run("casync", "make", "--store=store.castr", f"fw{version}.caibx", f"fw{version}", cwd=where)
        if version == 1:
            first = set(where.glob("store.castr/*/*"))
    stored = sorted(where.glob("store.castr/*/*"))
    files = {path.relative_to(where).as_posix(): path.read_bytes() for path in stored}
    chunk = max((path for path in stored if path not in first), key=lambda path: path.stat().st_size)
    files["fw.caibx"] = (where / "fw2.caibx").read_bytes()
    before = (where / "fw1.caibx").read_bytes()
    return Content(files, "fw.caibx", chunk.relative_to(where).as_posix(), before, new, old, "fw.caibx")


def ostree(where: Path) -> Content:
    """Return a repository of OSTree with two commits, each of one file."""
    old, new = noise(SIZE, 1), noise(SIZE, 2)
    run("ostree", "init", "--mode=archive", "--repo=repo", cwd=where)
    (where / "tree").mkdir()
    refs = []
    for data in (old, new):
        (where / "tree" / "got").write_bytes(data)
        run("ostree", "commit", "--fsync=false", "--repo=repo", "-b", "main", "--tree=dir=tree", cwd=where)
        refs.append((where / "repo" / "refs" / "heads" / "main").read_bytes())
        if data is old:
            first = set((where / "repo").rglob("*.filez"))
    (chunk,) = set((where / "repo").rglob("*.filez")) - first
    files = {path.relative_to(where).as_posix(): path.read_bytes() for path in _files(where / "repo")}
    return Content(files, "repo", chunk.relative_to(where).as_posix(), refs[0], new, old, "repo/refs/heads/main")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def swupdate(where: Path) -> Content:
    """Return a signed update of SWUpdate, and its certificate."""
    images = [noise(SIZE, version) for version in (1, 2)]
    make_key(where)
    old, new = (signed_update(where, image, DESCRIPTION % (version, "%s")) for version, image in enumerate(images, 1))
    has = {"cert.pem": (where / "cert.pem").read_bytes()}
    return Content({"fw.swu": new}, "fw.swu", "fw.swu", old, images[1], images[0], has=has)


def make_key(where: Path) -> None:
    """Make `key.pem`, and a certificate of it, `cert.pem`."""
    subject = ["-subj", "/CN=bench", "-addext", "extendedKeyUsage=emailProtection"]
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem"]
    run("openssl", "req", "-x509", *key, *subject, "-out", "cert.pem", cwd=where)


def signed_update(where: Path, image: bytes, description: str) -> bytes:
    """Return an update that is signed by `key.pem`; `%s` in its description stands for the digest of the image."""
    (where / "image").write_bytes(image)
    (where / "sw-description").write_text(description % digest(where / "image"))
    signer = ["-signer", "cert.pem", "-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-binary"]
    run("openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", *signer, cwd=where)
    names = b"sw-description\nsw-description.sig\nimage\n"
    packing = ["cpio", "--quiet", "-o", "-H", "crc"]
    return subprocess.run(packing, input=names, stdout=subprocess.PIPE, cwd=where, check=True, timeout=30).stdout


def rauc(where: Path) -> Content:
    """Return a signed bundle of RAUC, and its certificate."""
    make_key(where)
    images, bundles = [noise(SIZE, version) for version in (1, 2)], []
    for version, image in enumerate(images, 1):
        (where / f"in{version}").mkdir()
        (where / f"in{version}" / "manifest.raucm").write_text(MANIFEST % version)
        (where / f"in{version}" / "got").write_bytes(image)
        keys = ["--cert=cert.pem", "--key=key.pem", "--keyring=cert.pem"]
        run("rauc", "bundle", *keys, f"in{version}", f"fw{version}.raucb", cwd=where)
        bundles.append((where / f"fw{version}.raucb").read_bytes())
    has = {"cert.pem": (where / "cert.pem").read_bytes()}
    return Content({"fw.raucb": bundles[1]}, "fw.raucb", "fw.raucb", bundles[0], images[1], images[0], has=has)


ONCE = [
    Client("curl", "curl -f -o got {url}", ("curl",)),
    Client("wget", "wget --tries=1 -O got {url}", ("wget",)),
    Client("busybox wget", "busybox wget -O got {url}", ("busybox",)),
    Client("requests", [sys.executable, "-c", PLAIN_REQUESTS], product="urllib3"),
    Client("urlretrieve", command="python", programs=("python3",), got="fw.bin"),
    Client("curl, sha256sum", command="curl", programs=("curl", "sha256sum"), got="fw.bin"),
]
AGAIN = [
    Client(
        "curl --retry",
        "curl -f --retry 3 --retry-delay 1 --retry-all-errors -C - --connect-timeout 2 -Y 1 -y 2 -o got {url}",
        ("curl",),
    ),
    Client(
        "wget -c",
        "wget -c --tries=4 --waitretry=1 -T 2 --retry-connrefused --retry-on-http-error=429,500,503 -O got {url}",
        ("wget",),
    ),
    Client(
        "busybox wget -c",
        "n=1; until busybox timeout 3 busybox wget -c -O got {url}; do [ $n -lt 4 ] || exit 1; n=$((n+1)); done",
        ("busybox",),
    ),
    Client("requests, Retry", [sys.executable, "-c", REQUESTS_WITH_RETRY], product="urllib3"),
    Client(
        "aria2c",
        "aria2c -x4 -s4 -k1M --max-tries=4 --retry-wait=1 -t 2 --connect-timeout=2 --file-allocation=none -o got {url}",
        ("aria2c",),
        large_file,
    ),
]
CHECKING = [
    Client("zckdl", "zckdl {url}", ("zckdl", "zck"), zchunk, "fw.zck"),
    Client("casync", "casync extract --store={top}/store.castr {url} got", ("casync",), casync),
    Client(
        "ostree",
        "ostree init --mode=archive --repo=board && "
        "ostree remote add --repo=board --no-gpg-verify bench {url} &&\n"
        "  ostree pull --repo=board bench main && ostree checkout --repo=board -U bench:main tree",
        ("ostree",),
        ostree,
        "tree/got",
    ),
    Client(
        "SWUpdate",
        "TMPDIR=$PWD swupdate -k cert.pem -H board:1.0 -d '-u {url} -r 3 -t 2'",
        ("swupdate", "openssl", "cpio"),
        swupdate,
        "installed",
        at_once=1,  # it listens at an abstract name
        tries=3,  # 2022.12 fails in one run of twenty, when its processes end in another order
    ),
    Client(
        "RAUC",
        "TMPDIR=$PWD rauc --keyring=cert.pem extract {url} tree",
        ("rauc", "mksquashfs", "openssl"),
        rauc,
        "tree/got",
    ),
]
BOOTING = [
    Client(
        "U-Boot",
        [sys.executable, machines.__file__],
        ("qemu-system-aarch64", str(UBOOT)),
        command="u-boot",
        at_once=2,
        tries=2,  # its console loses a line at times
        advertise="10.0.2.2",
    ),
]
