"""Each example runs as a user would run it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import warm

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
END_SECONDS = 40


def command(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def started(name: str, *arguments: str | Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return warm.Popen(command(name, *arguments), env=environment(), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)


def run(name: str, *arguments: str | Path) -> str:
    done = warm.run(command(name, *arguments), env=environment(), timeout=END_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_board_boot_shows_the_record_of_a_whole_download() -> None:
    output = run("board_boot.py")

    assert re.search(r"127\.0\.0\.1 has all 20,000,000 bytes of board\.img after \d+\.\d+ s, fetched by \S+", output)


def test_board_boot_takes_an_image(tmp_path: Path) -> None:
    image = tmp_path / "small.img"
    image.write_bytes(b"12345")

    output = run("board_boot.py", image)

    assert "has all 5 bytes" in output


def test_plain_script_waits_for_the_board_and_says_so(tmp_path: Path) -> None:
    image = tmp_path / "board.img"
    image.write_bytes(bytes(100_000))
    with started("plain_script.py", image, "127.0.0.1") as script:
        assert script.stdout is not None
        url = script.stdout.readline().split("'")[1]

        with urllib.request.urlopen(url) as response:
            fetched = response.read()
        output, errors = script.communicate(timeout=END_SECONDS)

    assert fetched == bytes(100_000)
    assert output.startswith("127.0.0.1 has 100000 bytes after")
    assert (script.returncode, errors) == (0, "")


def test_from_operator_puts_what_the_operator_has() -> None:
    output = run("from_operator.py")

    assert "fetched 800000 bytes" in output
    assert "boot/zImage" in output


def printed_urls(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().split("'")[1] for _ in range(count)]


def test_plain_2015_stages_two_files_and_waits_for_both(tmp_path: Path) -> None:
    files = [tmp_path / "Image", tmp_path / "board.dtb"]
    for number, file in enumerate(files, 1):
        file.write_bytes(bytes(number * 1000))
    with started("plain_2015.py", *files) as script:
        for url in printed_urls(script, 2):
            with urllib.request.urlopen(url) as response:
                response.read()
        output, errors = script.communicate(timeout=END_SECONDS)

    assert re.fullmatch(
        r"127\.0\.0\.1 has boot/Image: 1000 bytes after \d+\.\d s\n"
        r"127\.0\.0\.1 has boot/board\.dtb: 2000 bytes after \d+\.\d s\n",
        output,
    )
    assert (script.returncode, errors) == (0, "")


def test_plain_2015_says_why_no_board_came(tmp_path: Path) -> None:
    file = tmp_path / "Image"
    file.write_bytes(b"1")

    script = command("plain_2015.py", "--timeout", "0.1", file, file)
    done = warm.run(script, env=environment(), timeout=END_SECONDS)

    assert done.returncode == 1
    assert "boot/Image did not arrive: " in done.stdout
    assert "nobody" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_boot_sh_ends_when_the_board_has_the_image(tmp_path: Path) -> None:
    image = tmp_path / "board.img"
    image.write_bytes(os.urandom(300_000))
    script: list[str | Path] = [EXAMPLES / "boot.sh", image, "127.0.0.1", "curl", "-sSf", "-o", "fetched.img"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    temporary = tmp_path / "tmp"
    temporary.mkdir()

    done = subprocess.run(
        script,
        cwd=tmp_path,
        env={**environment(), "PATH": path, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "the board has board.img\n"
    assert (tmp_path / "fetched.img").read_bytes() == image.read_bytes()
    assert list(temporary.iterdir()) == []


ENVIRONMENT = f"""
imports: [{EXAMPLES}/labgrid_driver.py]
targets:
  main:
    resources:
      NetworkService: {{address: 127.0.0.1, username: root}}
    drivers:
      HttpServeDriver: {{}}
"""
STAGE = """
import urllib.request
from labgrid import Environment

target = Environment("bench.yaml").get_target()
driver = target.get_driver("HttpServeDriver")
url = driver.stage("build/board.img")
with urllib.request.urlopen(url) as answer:
    print(url, len(answer.read()))
print(driver.wait("build/board.img", 10.0).bytes, driver.http.is_running)
target.deactivate(driver)
print(driver.http.is_running)
"""


@pytest.mark.skipif(find_spec("labgrid") is None, reason="labgrid is not installed")
def test_labgrid_driver_stages_a_file_and_returns_our_url(tmp_path: Path) -> None:
    assert (EXAMPLES / "labgrid_driver.py").is_file()
    (tmp_path / "bench.yaml").write_text(ENVIRONMENT)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "board.img").write_bytes(bytes(5000))

    done = subprocess.run(
        [sys.executable, "-c", STAGE],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/board\.img 5000\n5000 True\nFalse\n", done.stdout)


def test_uboot_console_types_the_command_and_knows_what_arrived() -> None:
    output = run("uboot_console.py")

    size = (EXAMPLES / "uboot_console.py").stat().st_size
    assert f"Bytes transferred = {size} ({size:x} hex)" in output
    assert output.endswith(f"127.0.0.1 has {size} bytes of uboot_console.py\n")


def test_simulated_uboot_asks_as_the_real_one_does() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(command("simulated_uboot.py"), stdout=subprocess.PIPE, text=True) as board,
    ):
        assert board.stdout is not None
        console = os.open(board.stdout.readline().strip(), os.O_RDWR | os.O_NOCTTY)
        try:
            line = f"setenv httpdstp {server.getsockname()[1]}; wget 1000 127.0.0.1:/a && echo got ${{filesize}}\r"
            os.write(console, line.encode())
            server.settimeout(END_SECONDS)
            connection, _ = server.accept()
            with connection:
                asked = connection.recv(1000)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\nnone")
            printed = b""
            while not printed.endswith(b"=> "):
                printed += os.read(console, 1000)
        finally:
            os.close(console)
            board.terminate()

    assert asked == b"GET /a HTTP/1.0\r\n\r\n"
    assert printed.replace(b"\r", b"").endswith(b"Transfer Successful\nBytes transferred = 4 (4 hex)\ngot 4\n=> ")


def test_each_example_has_a_test_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")

    examples = [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")]
    untested = [file.name for file in examples if f'"{file.name}"' not in tested]

    assert not untested
