"""What must hold of a form with files, however it comes in: bytes in, an outcome in a few words out.

A form that is made as RFC 7578 has it is read back. Knows no fuzzer, no socket and no file.
"""

from __future__ import annotations

from itertools import pairwise

from httpserve.site.form import FRAMING_BYTES, Form, Part
from tests.fuzz.grammar import number

BOUNDARY = b"b-"
_BEGIN, _HEAD, _END = b"--b-\r\n", b'Content-Disposition: form-data; name="f"; filename="%d"\r\n\r\n', b"--b---\r\n"


def check_form(data: bytes) -> str:
    """Take the first line for where to cut, and what follows for a form; then each line of that for a file."""
    first, _, sent = data.partition(b"\n")
    cuts = [cut for cut in map(number, first.split()) if cut is not None]
    whole = _fed(sent, cuts)
    assert _fed(sent, []) == whole
    assert _fed(sent, range(len(sent))) == whole
    files = [line for line in sent.split(b"\n|") if b"--b-" not in line]
    made = b"".join(_BEGIN + _HEAD % number + body + b"\r\n" for number, body in enumerate(files, 1)) + _END
    for places in (cuts, [], range(len(made))):
        assert _fed(made, places) == [(str(number), body) for number, body in enumerate(files, 1)]
    return whole if isinstance(whole, str) else f"{min(len(whole), 3)} {any(body for _, body in whole)}"


def _fed(sent: bytes, cuts: object) -> list[tuple[str, bytes]] | str:
    """Return the files of a form that comes in pieces, or why there are none."""
    assert isinstance(cuts, list | range)
    marks = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
    form = Form(BOUNDARY)
    files: list[tuple[str, bytes]] = []
    content = 0
    try:
        for start, stop in pairwise(marks):
            for piece in form.feed(sent[start:stop]):
                if isinstance(piece, Part):
                    files.append((piece.filename, b""))
                else:
                    content += len(piece)
                    files[-1] = (files[-1][0], files[-1][1] + piece)
        form.finish()
    except ValueError:
        return "refused"
    assert content + FRAMING_BYTES >= len(sent)
    return files
