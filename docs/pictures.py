"""Makes the pictures of the terminal in docs/images: runs the command on a pseudo-terminal, and plays the boards.

python docs/pictures.py                              the pictures that docs/shell.md shows
python docs/pictures.py DIRECTORY BOARDS COLUMNS     two of one case, light and dark, to look at

Needs Linux, `ip`, chromium, pyte and pillow. The boards' addresses are those of a network namespace of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import os
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte
from PIL import Image

DOCS = Path(__file__).resolve().parent
HOST, PORT = "192.168.7.1", 8000
FILES = {"core-image-full-cmdline-genericarm64.wic.zst": 61, "rootfs.squashfs": 24, "fitImage": 7}  # MiB
SECONDS = 3.2  # until the picture is taken
MOST_COLOURS = 250  # a few, and what lies between them and the page at the edges of letters
KEPT = [("terminal-light", 5, 100), ("terminal-dark", 5, 100), ("terminal-30-dark", 30, 100)]

# What terminals and rich use, as themes of today have it.
COLOURS = ("default", "page", "frame", "brightblack", "green", "brown", "red")
LIGHT = ("#24292f", "#ffffff", "#d0d7de", "#8c959f", "#1a7f37", "#9a6700", "#cf222e")
DARK = ("#d1d7e0", "#161b22", "#3d444d", "#656c76", "#3fb950", "#d29922", "#f85149")
THEMES = {"light": dict(zip(COLOURS, LIGHT, strict=True)), "dark": dict(zip(COLOURS, DARK, strict=True))}
PAGE = """<!doctype html><meta charset="utf-8"><style>
html {{ background: {page} }}
body {{ margin: 0; padding: 14px 18px; font: 14px/19px "DejaVu Sans Mono", monospace; color: {default};
  background: {page}; border: 1px solid {frame}; border-radius: 8px; width: max-content }}
pre {{ margin: 0; font: inherit }}
</style><pre>{text}</pre>"""


def main() -> None:
    if "IN_NAMESPACE" not in os.environ:
        os.environ["IN_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.argv])
    for words in ("link set lo up", "route add local 192.168.7.0/24 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    if sys.argv[1:]:
        directory, boards, columns = sys.argv[1:]
        shown = screen(int(boards), int(columns))
        for theme in THEMES:
            save(shown, Path(directory) / f"terminal-{boards}-{columns}-{theme}.png", theme)
        return
    for name, boards, columns in KEPT:
        save(screen(boards, columns), DOCS / "images" / f"{name}.png", name.rpartition("-")[2])


def screen(boards: int, columns: int) -> pyte.Screen:
    """Return what a terminal shows while so many boards download."""
    rows = min(boards + 12, 40)
    shown = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(shown)
    stream.feed(f"$ httpserve build -b {HOST} -p {PORT}\r\n".encode())
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        for name, size in FILES.items():
            with open(Path(directory) / name, "wb") as file:
                file.truncate(size << 20)
        command = [sys.executable, "-m", "httpserve", directory, "-b", HOST, "-p", str(PORT)]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | terminal())
        stack.callback(process.wait)
        stack.callback(process.kill)
        show(stream, ours, until=lambda: "http://" in "".join(shown.display))
        stack.enter_context(playing(boards))
        end = time.monotonic() + SECONDS
        show(stream, ours, until=lambda: time.monotonic() > end)
    os.close(ours)
    os.close(theirs)
    return shown


def terminal() -> dict[str, str]:
    return {"TERM": "xterm-256color", "PYTHONPATH": str(DOCS.parent)}


def show(stream: pyte.ByteStream, terminal: int, until: Any) -> None:
    """Show what comes. pyte knows no dim text, so that is shown in a colour that nothing else has."""
    while not until():
        if select.select([terminal], [], [], 0.05)[0]:
            stream.feed(os.read(terminal, 65536).replace(b"\x1b[2m", b"\x1b[90m"))


@contextlib.contextmanager
def playing(boards: int) -> Iterator[None]:
    """Let boards fetch: some at once, one what is not there, and each of the others at its own rate."""
    chance = random.Random(7)
    over = threading.Event()
    names = list(FILES)
    fetch(2, "fitImage", 0, over)
    fetch(3, "rootfs.squash", 0, over)
    threads = []
    for board in range(boards):
        name = names[0] if board % 3 else names[1]
        rate = chance.uniform(0.5, 8) * (1 << 20)
        if board == 3:
            rate = 1 << 14  # it does not move
        threads.append(threading.Thread(target=fetch, args=(board + 10, name, rate, over)))
        threads[-1].start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def fetch(board: int, name: str, rate: float, over: threading.Event) -> None:
    """Fetch a file as a board does, at so many bytes in a second; 0: at once."""
    with socket.socket() as sock:
        if rate:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        sock.bind((f"192.168.7.{board}", 0))
        sock.connect((HOST, PORT))
        sock.sendall(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
        began, got = time.monotonic(), 0
        while not over.is_set() and (data := sock.recv(1 << 16)):
            got += len(data)
            if rate:
                over.wait(max(0.0, got / rate - (time.monotonic() - began)))


def save(shown: pyte.Screen, file: Path, theme: str) -> None:
    """Write a picture of a terminal."""
    colours = THEMES[theme]
    lines = shown.display
    height = max(row for row, line in enumerate(lines) if line.strip()) + 1
    text = "\n".join(line_html(shown, row, colours) for row in range(height))
    width = round(shown.columns * 8.43) + 38
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "page.html"
        page.write_text(PAGE.format(text=text, **colours), encoding="utf-8")
        size = f"--window-size={width},{height * 19 + 30}"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--disable-lcd-text", size]
        subprocess.run(["chromium", *options, f"--screenshot={file}", page.as_uri()], check=True, capture_output=True)
    with Image.open(file) as picture:
        picture.quantize(MOST_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def line_html(shown: pyte.Screen, row: int, colours: dict[str, str]) -> str:
    """Return a line of a terminal with its colours."""
    line = [shown.buffer[row][column] for column in range(shown.columns)]
    parts = []
    for (fg, is_bold), chars in groupby(line, key=lambda char: (char.fg, char.bold)):
        colour = colours[fg]
        text = html.escape("".join(char.data for char in chars))
        parts.append(f'<span style="color:{colour};font-weight:{700 if is_bold else 400}">{text}</span>')
    return "".join(parts)


if __name__ == "__main__":
    main()
