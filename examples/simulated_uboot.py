"""A board of paper: U-Boot's console on a pseudo-terminal, with the few commands that fetch a file.

    python examples/simulated_uboot.py

prints the name of the terminal, and ends with SIGTERM. It fetches as U-Boot's own TCP stack does: `GET path HTTP/1.0`
and nothing else, until the server closes; and like that it says "Transfer Successful" whatever the answer was.
"""

import hashlib
import os
import re
import shlex
import socket
import sys
import tty

PROMPT = b"=> "


class Board:
    """What the commands work on: variables, and memory by address."""

    def __init__(self) -> None:
        self.variables = {"loadaddr": "82000000"}
        self.memory: dict[str, bytes] = {}

    def run(self, line: str) -> str:
        """Run commands parted by `;` and `&&`, and return what they print."""
        printed = ""
        succeeded = True
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
        lexer.whitespace_split = True
        for token in [*lexer, ";"]:
            if token not in (";", "&&"):
                words.append(token)
                continue
            if words and succeeded:
                output, succeeded = self._command([self._expanded(word) for word in words])
                printed += output
            succeeded = succeeded or token == ";"
            words = []
        return printed

    def _expanded(self, word: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self.variables.get(found[1], ""), word)

    def _command(self, words: list[str]) -> tuple[str, bool]:
        match words:
            case ["setenv", name, *value]:
                self.variables[name] = " ".join(value)
                return "", True
            case ["echo", *what]:
                return " ".join(what) + "\n", True
            case ["wget", address, source]:
                return self._wget(address, source)
            case ["hash", "sha256", address, size, name]:
                self.variables[name] = hashlib.sha256(self.memory[address][: int(size, 16)]).hexdigest()
                return f"sha256 for {address} ==> {self.variables[name]}\n", True
            case ["test", left, "=", right]:
                return "", left == right
        return f"Unknown command '{words[0]}' - try 'help'\n", False

    def _wget(self, address: str, source: str) -> tuple[str, bool]:
        host, _, path = source.partition(":")
        with socket.create_connection((host, int(self.variables.get("httpdstp", "80"))), timeout=30) as server:
            server.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        _, _, content = answer.partition(b"\r\n\r\n")
        self.memory[address] = content
        self.variables["filesize"] = f"{len(content):x}"
        return f"Transfer Successful\nBytes transferred = {len(content)} ({len(content):x} hex)\n", True


def main() -> None:
    board, terminal = os.openpty()
    tty.setraw(terminal)
    print(os.ttyname(terminal))
    sys.stdout.flush()
    uboot = Board()
    line = b""
    while True:
        typed = os.read(board, 1024)
        os.write(board, typed.replace(b"\r", b"\r\n"))  # the echo
        *lines, line = (line + typed).split(b"\r")
        for done in lines:
            os.write(board, uboot.run(done.decode()).replace("\n", "\r\n").encode() + PROMPT)


if __name__ == "__main__":
    main()
