"""The old style: no `with`, no annotations, just calls that block.

    python examples/plain_script.py [IMAGE [ADDRESS]]

ADDRESS is the board's (127.0.0.1 when left out: fetch the URL from another terminal). Without arguments the script
serves itself, and another Python plays the board.
"""

import os
import subprocess
import sys

import httpserve

image = sys.argv[1] if len(sys.argv) > 1 else __file__
PLAY_BOARD = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"
board = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
name = os.path.basename(image)

server = httpserve.HttpServerClient(peer=board)
server.start()
try:
    url = server.put_file(name, image)
    print("on the board, run: wget '%s'" % url)
    sys.stdout.flush()
    if len(sys.argv) == 1:
        subprocess.Popen([sys.executable, "-c", PLAY_BOARD, url]).wait()

    download = server.wait_for_download(name, timeout=600)
    print("%s has %d bytes after %.1f s" % (download.client, download.bytes, download.seconds))
except httpserve.WaitTimeout as error:
    print("the board did not fetch it: %s" % error)
    sys.exit(1)
finally:
    server.close()
