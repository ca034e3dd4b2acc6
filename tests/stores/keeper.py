"""Runs one server for all processes of a run, and ends it with the last of them, however that ends.

    python keeper.py USERS HOME READY LITTER COMMAND...

Each process that uses the server holds a shared POSIX lock on the file USERS, which the kernel lets go when it ends. So
who gets the lock for itself is alone. HOME is a directory for the server, removed with it; it is ready when it has
printed READY; LITTER are patterns of files that it leaves, joined by colons. Where the server ends before it is ready,
what it said is printed. Knows nothing of the package, and imports little, as it starts in each run.
"""

import contextlib
import ctypes
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading


def end_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main(users: str, home: str, ready: str, litter: str, *command: str) -> None:
    if os.fork():
        return  # who started it need not wait for its end
    server = subprocess.Popen(
        command,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"TMPDIR": home},
        preexec_fn=end_with_parent,
    )
    assert server.stdout is not None

    def end() -> None:
        server.kill()
        server.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(users + ".ready")
        shutil.rmtree(home, ignore_errors=True)
        for pattern in litter.split(":"):
            for path in glob.glob(pattern):
                os.unlink(path)

    said = b""
    for line in server.stdout:
        said += line
        if ready.encode() in line:
            break
    else:
        end()
        os.write(1, said or b"it printed nothing")
        return
    with open(users + ".ready", "w"):  # before anybody else looks: the first holds the lock of the start
        pass
    os.close(1)
    os.open(os.devnull, os.O_WRONLY)
    threading.Thread(target=server.stdout.read, daemon=True).start()
    with open(users, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        end()


if __name__ == "__main__":
    main(*sys.argv[1:])
