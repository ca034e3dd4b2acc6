"""Boot each machine by its own iPXE script, chosen by its MAC address.

    python examples/ipxe_per_mac.py [HOST]

iPXE asks for what DHCP tells it (or what is typed): `chain http://HOST:PORT/boot.ipxe?mac=${net0/mac}`. With a host it
serves until Ctrl-C; else two machines are simulated.
"""

import sys
import threading
from urllib.request import urlopen

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request

from httpserve import HttpServerClient

MACHINES = {
    "52:54:00:12:34:56": ("debian", "console=ttyS0 root=/dev/nfs"),
    "52:54:00:12:34:57": ("rescue", "console=ttyS0 single"),
}


def script(request: Request) -> str:
    """Return the script for the machine that asks."""
    mac = request.args.get("mac", "").lower()
    if mac not in MACHINES:
        raise NotFound(f"no machine has the MAC address {mac!r}")
    system, arguments = MACHINES[mac]
    return f"#!ipxe\nkernel /{system}/vmlinuz {arguments}\ninitrd /{system}/initrd.img\nboot\n"


def main() -> None:
    with HttpServerClient(host=sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1") as http:
        asked = http.respond("boot.ipxe", script)
        print(f"chain {http.get_url('boot.ipxe')}?mac=${{net0/mac}}", flush=True)
        if len(sys.argv) > 1:
            threading.Event().wait()
        for mac in MACHINES:
            with urlopen(f"{http.get_url('boot.ipxe')}?mac={mac}") as answer:
                print(answer.read().decode().splitlines()[1])
        for record in asked.hits:
            print(record.query, record.status)


if __name__ == "__main__":
    main()
