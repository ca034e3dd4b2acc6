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


def test_results_come_back_from_the_board() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    output = run("results.py")

    assert output.startswith("127.0.0.1 ran 2 tests; failed: mounts\nlogs/dmesg.log: ")
    assert "\nresults.xml: " in output
    assert output.endswith("mmc0: error -110\n")


def test_from_operator_puts_what_the_operator_has() -> None:
    output = run("from_operator.py")

    assert "fetched 800000 bytes" in output
    assert "boot/zImage" in output


def test_power_cut_comes_at_the_bytes_that_were_asked_for(tmp_path: Path) -> None:
    image = tmp_path / "board.img"
    image.write_bytes(os.urandom(1_000_000))

    lines = run("power_cut.py", image).splitlines()

    cuts = [re.fullmatch(r"power cut at byte ([\d,]+): the flash has ([\d,]+) bytes", line) for line in lines[:-1]]
    numbers = [[int(number.replace(",", "")) for number in cut.groups()] for cut in cuts if cut]
    assert [sent for sent, _ in numbers] == [1000, 500_000, 999_999]
    assert all(flashed <= sent for sent, flashed in numbers)
    assert lines[-1] == "the board has all 1,000,000 bytes, as they are on the server, after 3 power cuts"


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


def test_rauc_polling_holds_one_board_back_and_spares_another_what_it_has() -> None:
    output = run("rauc_polling.py")

    assert output == (
        "board-7: 204\nboard-8: 200 100004 bytes\nboard-8 again: 304\n"
        "board-7 polled: 204\nboard-8 polled: 302\nboard-8 polled: 302\n"
    )


@pytest.mark.skipif(
    not all(map(shutil.which, ("rauc", "openssl", "mksquashfs"))), reason="no RAUC, or no bundle for it"
)
def test_rauc_reads_the_bundle_that_it_was_sent_to(tmp_path: Path) -> None:
    manifest = "[update]\ncompatible=board\nversion=1.2\n[image.rootfs]\nfilename=rootfs.img\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "manifest.raucm").write_text(manifest)
    (tmp_path / "in" / "rootfs.img").write_bytes(os.urandom(8192))
    pair, bundle = [f"--{name}={tmp_path / name}.pem" for name in ("cert", "key")], str(tmp_path / "b.raucb")
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/cert.pem"]
    for line in (
        ["openssl", "req", "-x509", *key, "-subj", "/CN=bench"],
        ["rauc", "bundle", *pair, str(tmp_path / "in"), bundle],
    ):
        subprocess.run(line, check=True, capture_output=True, timeout=END_SECONDS)

    output = run("rauc_polling.py", bundle, "1.2")

    assert "RAUC reads RAUC_MF_VERSION='1.2'\n" in output
    assert output.endswith("rauc polled: 302\n")


def test_hawkbit_ddi_hears_that_the_simulated_board_is_done() -> None:
    output = run("hawkbit_ddi.py")

    feedback = "feedback: proceeding none\nfeedback: closed success\nthe board has fetched 100,004 bytes\n"
    assert output.endswith(feedback)


HAWKBIT = os.environ.get("HTTPSERVE_TEST_RAUC_HAWKBIT") or shutil.which("rauc-hawkbit-updater")
HAWKBIT_CONFIGURATION = """
[client]
hawkbit_server = {server}
ssl = false
tenant_id = DEFAULT
target_name = board
auth_token = secret
bundle_download_location = {directory}/bundle.raucb
retry_wait = 5
connect_timeout = 20
timeout = 20
[device]
product = board
"""


@pytest.mark.skipif(HAWKBIT is None, reason="rauc-hawkbit-updater is not installed")
def test_hawkbit_ddi_leads_rauc_hawkbit_updater_to_the_bundle_and_hears_how_it_ends(tmp_path: Path) -> None:
    assert HAWKBIT is not None
    (tmp_path / "b").write_bytes(os.urandom(100_000))
    with started("hawkbit_ddi.py", tmp_path / "b") as script:
        assert script.stdout is not None
        server = script.stdout.readline().split("/")[2]
        configuration = HAWKBIT_CONFIGURATION.format(server=server, directory=tmp_path)
        (tmp_path / "c").write_text(configuration)
        nobody = {"DBUS_STARTER_BUS_TYPE": "session", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/none"}
        line = [HAWKBIT, "-r", "-c", str(tmp_path / "c")]
        board = subprocess.run(line, env={**os.environ, **nobody}, capture_output=True, text=True, timeout=END_SECONDS)
        output, errors = script.communicate(timeout=END_SECONDS)

    assert "HTTP request failed" not in f"{board.stdout}{board.stderr}"
    assert re.fullmatch(
        r"feedback: proceeding none Download complete.*\nfeedback: proceeding none File checksum OK\.\n"
        r"feedback: closed failure .*\nthe board has fetched 100,000 bytes\n",  # there is no RAUC to install it
        output,
    )
    assert (script.returncode, errors) == (0, "")


def test_android_ota_tells_offset_and_size_and_sees_just_those_bytes_arrive() -> None:
    output = run("android_ota.py")

    assert re.fullmatch(
        r"the payload is right: True\n127\.0\.0\.1 has 300,000 of 300,4\d\d bytes, from \d+ on\n", output
    )


def test_ipxe_per_mac_gives_each_machine_its_own_script() -> None:
    output = run("ipxe_per_mac.py")

    assert re.fullmatch(
        r"chain http://127\.0\.0\.1:\d+/boot\.ipxe\?mac=\$\{net0/mac\}\n"
        r"kernel /debian/vmlinuz .*\nkernel /rescue/vmlinuz .*\n"
        r"mac=52:54:00:12:34:56 200\nmac=52:54:00:12:34:57 200\n",
        output,
    )


def test_esp_idf_ota_sends_the_file_to_a_board_that_lacks_it_and_304_to_one_that_has_it() -> None:
    assert run("esp_idf_ota.py") == "a board with 1.0: 200 200001\na board with 1.1: 304 0\n1.0 302\n1.1 304\n"


def test_each_example_has_a_test_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")

    examples = [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")]
    untested = [file.name for file in examples if f'"{file.name}"' not in tested]

    assert not untested
