"""Be the hawkBit server of one board: hand out one bundle by the DDI API, and follow the board's feedback to its end.

    python examples/hawkbit_ddi.py [BUNDLE [HOST]]

With a bundle, it waits for a real client, such as rauc-hawkbit-updater, whose configuration needs
`hawkbit_server=HOST:PORT`, `ssl=false`, `tenant_id=DEFAULT` and `target_name=board`; else it simulates the board.
"""

import hashlib
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import requests
from werkzeug.wrappers import Request

from httpserve import HttpServerClient

BASE = "DEFAULT/controller/v1/board"


class Deployment:
    """One bundle for one board."""

    def __init__(self, http: HttpServerClient, bundle: Path) -> None:
        self.is_closed = threading.Event()
        self.feedback: list[tuple[str, str]] = []
        self._url = http.get_url(BASE)
        data = bundle.read_bytes()
        hashes = {"sha1": hashlib.sha1(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
        links = {"download-http": {"href": http.put_file("update.raucb", bundle)}}
        artifact = {"filename": bundle.name, "size": len(data), "hashes": hashes, "_links": links}
        chunk = {"part": "os", "name": "update", "version": "1.1", "artifacts": [artifact]}
        deployment = {"download": "forced", "update": "forced", "chunks": [chunk]}
        http.respond(BASE, self._poll, method="GET")
        http.respond(f"{BASE}/configData", {}, method="PUT")
        http.respond(f"{BASE}/deploymentBase/1", {"id": "1", "deployment": deployment}, method="GET")
        http.respond(f"{BASE}/deploymentBase/1/feedback", self._hear, method="POST")

    def _poll(self, request: Request) -> dict[str, Any]:
        links = {"configData": {"href": f"{self._url}/configData"}}
        if not self.is_closed.is_set():
            links["deploymentBase"] = {"href": f"{self._url}/deploymentBase/1"}
        return {"config": {"polling": {"sleep": "00:00:05"}}, "_links": links}

    def _hear(self, request: Request) -> dict[str, Any]:
        status = json.loads(request.get_data())["status"]
        self.feedback.append((status["execution"], status["result"]["finished"]))
        print("feedback:", *self.feedback[-1], *status.get("details", []), flush=True)
        if status["execution"] == "closed":
            self.is_closed.set()
        return {}  # rauc-hawkbit-updater takes 200 alone for success, and 204 is what None gives


def board(base: str) -> None:
    """Do what a DDI client does: poll, identify, fetch, compare, tell."""
    links = requests.get(base, timeout=10).json()["_links"]
    requests.put(links["configData"]["href"], json={"mode": "merge", "data": {"hw": "7"}}, timeout=10)
    found = requests.get(links["deploymentBase"]["href"], timeout=10).json()
    artifact = found["deployment"]["chunks"][0]["artifacts"][0]
    bundle = requests.get(artifact["_links"]["download-http"]["href"], timeout=10).content
    is_right = hashlib.sha1(bundle).hexdigest() == artifact["hashes"]["sha1"]
    for execution, finished in (("proceeding", "none"), ("closed", "success" if is_right else "failure")):
        status = {"execution": execution, "result": {"finished": finished}}
        requests.post(f"{base}/deploymentBase/{found['id']}/feedback", json={"status": status}, timeout=10)
    assert "deploymentBase" not in requests.get(base, timeout=10).json()["_links"]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        bundle = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(directory, "update.raucb")
        if len(sys.argv) < 2:
            bundle.write_bytes(b"hsqs" + bytes(100_000))
        with HttpServerClient(host=sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1") as http:
            deployment = Deployment(http, bundle)
            print(f"waiting for the board at {http.get_url(BASE)}", flush=True)
            if len(sys.argv) < 2:
                board(http.get_url(BASE))
            deployment.is_closed.wait()
            downloads = [one for one in http.transfers if one.name == "update.raucb" and one.state == "completed"]
            print(f"the board has fetched {downloads[-1].acknowledged:,} bytes" if downloads else "it fetched nothing")


if __name__ == "__main__":
    main()
