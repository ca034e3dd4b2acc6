"""Update an Android board: tell it where the payload lies in the OTA zip, by offset and size; see its ranges arrive.

    python examples/android_ota.py [OTA.zip]

Android's update_engine fetches ranges within the zip and never the whole file. Whoever calls it on the board
(`update_engine_client --payload=URL --offset=... --size=... --headers=...`) needs the offset and the size, which come
from here as JSON. The board is simulated.
"""

import base64
import hashlib
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import requests

from httpserve import HttpServerClient

LOCAL_HEADER_BYTES = 30  # of a zip, before the name and the extra field, whose lengths are its last two numbers


def make_ota(path: Path) -> None:
    """Make a zip as the build system does: the payload is stored, not compressed."""
    payload = os.urandom(300_000)
    digest = base64.b64encode(hashlib.sha256(payload).digest()).decode()
    with zipfile.ZipFile(path, "w") as ota:
        ota.writestr("META-INF/com/android/metadata", "ota-type=AB\n")
        ota.writestr("payload.bin", payload)
        ota.writestr("payload_properties.txt", f"FILE_HASH={digest}\nFILE_SIZE={len(payload)}\n")


def described(path: Path, url: str) -> dict[str, Any]:
    """Return what update_engine wants to know of a zip."""
    with zipfile.ZipFile(path) as ota, path.open("rb") as file:
        info = ota.getinfo("payload.bin")
        assert info.compress_type == zipfile.ZIP_STORED
        file.seek(info.header_offset)
        head = file.read(LOCAL_HEADER_BYTES)
        lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        headers = ota.read("payload_properties.txt").decode().split()
    offset = info.header_offset + LOCAL_HEADER_BYTES + lengths
    return {"payload": url, "offset": offset, "size": info.file_size, "headers": headers}


def board(url: str) -> bool:
    """Fetch the payload by ranges, as update_engine does, and compare its digest."""
    update = requests.get(url, timeout=10).json()
    first, size, payload = update["offset"], update["size"], b""
    for start in range(first, first + size, 100_000):
        last = min(start + 100_000, first + size) - 1
        answer = requests.get(update["payload"], headers={"Range": f"bytes={start}-{last}"}, timeout=10)
        assert answer.status_code == 206
        payload += answer.content
    digest = base64.b64encode(hashlib.sha256(payload).digest()).decode()
    return f"FILE_HASH={digest}" in update["headers"]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, HttpServerClient(host="127.0.0.1") as http:
        ota = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(directory, "ota.zip")
        if len(sys.argv) < 2:
            make_ota(ota)
        update = described(ota, http.put_file("ota.zip", ota, content_type="application/zip"))
        http.respond("ota.json", update)

        print("the payload is right:", board(http.get_url("ota.json")))
        record = http.wait_for_download("ota.zip", timeout=60, until=update["size"])
        print(f"{record.client} has {record.bytes:,} of {record.total:,} bytes, from {update['offset']} on")


if __name__ == "__main__":
    main()
