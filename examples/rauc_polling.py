"""Let RAUC poll for updates (RAUC 1.15 or later, `[polling]` in its system.conf), and decide for each board.

    python examples/rauc_polling.py [BUNDLE.raucb VERSION]

RAUC asks `source=` for a bundle, and says in RAUC-* fields who it is (`send-headers=`). It takes 204 for "there is
none", 304 for "still the same", and follows a redirect. The polling board is simulated; with a bundle, and where RAUC
is installed, RAUC reads it.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import requests
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from httpserve import HttpServerClient

HELD_BACK = {"board-7"}  # serial numbers that get no update for now


def poll(url: str, serial: str, etag: str = "") -> requests.Response:
    """Ask as RAUC does."""
    fields = {"User-Agent": "rauc/1.15", "RAUC-System-Serial": serial, "RAUC-System-Version": "1.0"}
    return requests.get(url, headers={**fields, **({"If-None-Match": etag} if etag else {})}, timeout=10)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, HttpServerClient(host="127.0.0.1") as http:
        bundle = Path(directory, "update.raucb")
        bundle.write_bytes(b"hsqs" + bytes(100_000))
        source, version = sys.argv[1:3] if len(sys.argv) > 2 else (bundle, "1.1")
        http.put_file("update.raucb", source)

        def update_for(request: Request) -> Response | None:
            """Send a board to its bundle: a file, so it gets ranges, an ETag, and 304."""
            serial, has = request.headers.get("RAUC-System-Serial"), request.headers.get("RAUC-System-Version")
            return None if serial in HELD_BACK or has == version else redirect("/update.raucb")

        polled = http.respond("rauc/update", update_for)
        url = http.get_url("rauc/update")

        print("board-7:", poll(url, "board-7").status_code)
        first = poll(url, "board-8")
        print("board-8:", first.status_code, len(first.content), "bytes")
        print("board-8 again:", poll(url, "board-8", first.headers["ETag"]).status_code)
        if len(sys.argv) > 2 and shutil.which("rauc"):
            command = ["rauc", "info", "--no-verify", "--output-format=shell", url]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print("RAUC reads", next(line for line in told.splitlines() if line.startswith("RAUC_MF_VERSION")))

        for record in polled.hits:
            print(record.fields.get("RAUC-System-Serial", record.user_agent or "rauc"), "polled:", record.status)


if __name__ == "__main__":
    main()
