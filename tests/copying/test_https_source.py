"""An https URL as a source: the same over TLS, where the certificate is trusted."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.errors import CopyFailed
from httpserve.storage.copying.copy import copy_in
from httpserve.storage.copying.local import FileSink
from httpserve.storage.copying.opening import open_source
from tests.copying.raw_server import target

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key in one file."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    certificate = f"{path}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", path, "-out", certificate], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(certificate).read_bytes())
    return path


@contextlib.contextmanager
def tls_server(certificate: Path, content: bytes, heads: list[bytes]) -> Iterator[str]:
    """Answer one request over TLS. Gives the URL of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as tls:
                heads.append(tls.recv(65536))
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))

    thread = threading.Thread(target=serve, name="tls server")
    thread.start()
    with listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_an_https_url_is_read_with_its_target_byte_for_byte(
    certificate: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    heads: list[bytes] = []
    with (
        tls_server(certificate, b"content", heads) as url,
        contextlib.closing(open_source(f"{url}/a%2fb?sig=%2f", timeout=10)) as source,
    ):
        copy_in(source, FileSink(str(dst)))

    assert dst.read_bytes() == b"content"
    assert target(heads[0]) == "/a%2fb?sig=%2f"


def test_a_certificate_that_is_not_trusted_is_named(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with (
        tls_server(certificate, b"content", []) as url,
        pytest.raises(CopyFailed, match="certificate is not trusted: self-signed certificate"),
    ):
        open_source(f"{url}/file", timeout=10)


def test_a_server_without_tls_is_said_to_be_one(bench: HttpServerClient) -> None:
    with pytest.raises(CopyFailed, match="does not speak TLS; is its URL one of http://"):
        open_source(bench.get_url("f").replace("http:", "https:"), timeout=10)
