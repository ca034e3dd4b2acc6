"""Let a board run a test, and take its results and its logs back.

    python examples/results.py

The board is simulated here: a shell, which fetches what to run and sends what came of it, both with curl. On a bench,
type the lines on its console.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from httpserve import HttpServerClient

TEST = """
dmesg_like="[    0.000000] Booting Linux
[    1.337000] mmc0: error -110"
echo "$dmesg_like" > dmesg.log
cat > results.xml <<END
<testsuite tests="2" failures="1">
  <testcase name="boots"/>
  <testcase name="mounts"><failure message="mmc0: error -110"/></testcase>
</testsuite>
END
"""


def type_on_board(line: str, board: str) -> None:
    subprocess.run(["sh", "-c", line], cwd=board, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    with tempfile.TemporaryDirectory() as board, HttpServerClient(host="127.0.0.1") as http:
        test = Path(board, "built.sh")
        test.write_text(TEST)
        http.put_file("test.sh", test)
        type_on_board(http.command("test.sh", "curl"), board)

        with http.accept_uploads("logs/"), http.expect_upload("results.xml", timeout=60) as up:
            type_on_board("sh test.sh", board)
            type_on_board(http.command("logs/dmesg.log", "curl-upload"), board)
            type_on_board(http.command("results.xml", "curl-upload"), board)

        results = ElementTree.fromstring(up.read())
        failed = [case.get("name") for case in results.iter("testcase") if case.find("failure") is not None]
        print(f"{up.record.client} ran {results.get('tests')} tests; failed: {', '.join(map(str, failed)) or 'none'}")
        for log in http.uploads:
            print(f"{log.name}: {log.bytes} bytes, SHA-256 {log.sha256[:16]}...")
        print(http.wait_for_upload("logs/", timeout=60).read().decode(), end="")
        sys.exit(0 if failed == ["mounts"] else 1)


if __name__ == "__main__":
    main()
