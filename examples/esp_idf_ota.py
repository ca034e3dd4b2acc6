"""Update ESP32 boards over the air: 304 for a board that has this firmware, the file for every other one.

    python examples/esp_idf_ota.py [FIRMWARE.bin VERSION]

ESP-IDF's `esp_https_ota` follows redirects, and takes 304 for "not modified". The application adds the field with its
version in `http_client_init_cb`: `esp_http_client_set_header(client, "X-Firmware-Version", desc->version)`. Plain http
needs ESP_HTTPS_OTA_ALLOW_HTTP. The boards are simulated.
"""

import http.client
import sys
import tempfile
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from httpserve import HttpServerClient


def ota(url: str, version: str) -> tuple[int, int]:
    """Ask as `esp_https_ota` does: one GET, and another one for each redirect. Return the status and the size."""
    while True:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.netloc, timeout=5)
        try:
            fields = {"User-Agent": "ESP32 HTTP Client/1.0", "X-Firmware-Version": version}
            connection.request("GET", where.path, headers=fields)
            answer = connection.getresponse()
            size = len(answer.read())
        finally:
            connection.close()
        if answer.status not in (301, 302, 307, 308):
            return answer.status, size
        url = urljoin(url, answer.headers["Location"])


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, HttpServerClient(host="127.0.0.1") as server:
        firmware = Path(directory, "firmware.bin")
        firmware.write_bytes(b"\xe9" + bytes(200_000))
        source, latest = sys.argv[1:3] if len(sys.argv) > 2 else (firmware, "1.1")
        server.put_file("firmware.bin", source)

        def newer(request: Request) -> Response:
            has = request.headers.get("X-Firmware-Version")
            return Response(status=304) if has == latest else redirect("/firmware.bin")

        asked = server.respond("ota/firmware", newer, method="GET")
        for version in ("1.0", latest):
            print(f"a board with {version}:", *ota(server.get_url("ota/firmware"), version))
        for record in asked.hits:
            print(record.fields["X-Firmware-Version"], record.status)


if __name__ == "__main__":
    main()
