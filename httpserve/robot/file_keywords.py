"""Keywords about the files on a server.

Knows names, sources and operators as a suite writes them. Knows nothing of boards.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import opendal

from httpserve import TreeReport
from httpserve.base.text import printable, size
from httpserve.robot.conversions import Address, Service, Source, operator_of, seconds
from httpserve.robot.keyword import Keywords, keyword, show_link
from httpserve.storage.operators import new_operator


class FileKeywords(Keywords):
    """Putting files, and looking at them."""

    @keyword("Put File", "file")
    def put_file(
        self,
        name: str,
        source: Source,
        operator: Service | None = None,
        *,
        sha256: str | None = None,
        decompress: bool = False,
        always: bool = False,
        overwrite: bool = True,
        timeout: timedelta | None = None,
        server: str | None = None,
        **options: str,
    ) -> str:
        """Puts a file where boards can fetch it, and returns its URL. Blocks until the copy is complete.

        A board sees the whole old file or the whole new file. If this fails, the old one stays. The log has the URL as
        a link, and the size.

        ``name`` is the name on the server, such as ``boot/Image``. ``source`` is a local path, an http(s) URL, or a
        path on ``operator``: what `Create Operator` returned, or an OpenDAL service such as ``s3``, with its options
        (``bucket=``, ``region=``, …) as further arguments. ``sha256`` is the digest that the bytes must have.
        ``decompress=yes`` puts what is in a source that gzip, xz, bzip2 or zstd has compressed; the digest is of that.
        What is unchanged since it was last put there is not copied again; ``always=yes`` copies it all the same.
        ``overwrite=no`` fails if there is a file of that name.
        ``timeout`` is how long a remote source may send nothing; default: that of the server.
        ``server`` is an alias; default: the current server.

        Fails when there is no such source, when it stalls, and when the bytes are not those that ``sha256`` promised.

        Example:
        | Start HTTP Server
        | ${url}=    Put File    boot/Image    ${CURDIR}/Image    timeout=2 min
        | Put File    boot/Image    Image    operator=fs    root=${CURDIR}
        """
        client = self.client(server)
        url = client.put_file(
            name,
            source,
            operator_of(operator, options),
            sha256=sha256,
            decompress=decompress,
            always=always,
            overwrite=overwrite,
            timeout=seconds(timeout),
        )
        show_link(url, f", {size(client.storage.stat(name).content_length)}")
        return url

    @keyword("Put Directory", "file")
    def put_directory(
        self,
        name: str,
        source: Source,
        operator: Service | None = None,
        *,
        include: list[str] | str = "",
        exclude: list[str] | str = "",
        delete: bool = False,
        always: bool = False,
        timeout: timedelta | None = None,
        server: str | None = None,
        **options: str,
    ) -> TreeReport:
        """Puts all files below a directory where boards can fetch them, each in one step. Blocks until all were tried.

        What is unchanged since it was last put there is not copied again; ``always=yes`` copies it all the same. The
        log has the URL of the directory as a link, and how many files were copied.

        ``name`` is the directory on the server. ``source`` is a local directory, the URL of one that httpserve lists,
        or a path on ``operator``, which is what it is for `Put File`. ``include`` has patterns of the files that are
        wanted, ``exclude`` of those that are not: one, or a list, such as ``*.dtb``, ``boot/*`` or ``.git``.
        ``delete=yes`` removes what else lies below ``name`` once all files are there.
        ``timeout`` is how long a remote source may send nothing; default: that of the server.
        ``server`` is an alias; default: the current server.

        Returns a report with the names on the server: ``copied``, ``unchanged``, ``failed`` and ``removed``. Fails when
        there is no such directory, and when a file cannot be put; all others are put then.

        Example:
        | Start HTTP Server
        | ${report}=    Put Directory    boot    ${CURDIR}    exclude=*.log
        | Should Be Empty    ${report.failed}
        """
        client = self.client(server)
        report = client.put_tree(
            name,
            source,
            operator_of(operator, options),
            include=include or (),
            exclude=exclude or (),
            delete=delete,
            always=always,
            timeout=seconds(timeout),
        )
        show_link(client.get_url(name.strip("/")), f", {report}")
        return report

    @keyword("Put Text", "file")
    def put_text(self, name: str, text: str, *, encoding: str = "UTF-8", server: str | None = None) -> str:
        r"""Puts a text file where boards can fetch it, and returns its URL. Blocks until it is on the disk.

        ``name`` is the name on the server, ``text`` the whole content of the file: ``\n`` makes a new line.
        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    grub.cfg    linux /Image console=ttyS0\nboot\n
        """
        client = self.client(server)
        url = client.get_url(name)  # first: nothing is written for a server that does not run
        content = text.encode(encoding)
        client.storage.write_bytes(name, content)
        show_link(url, f", {size(len(content))}")
        return url

    @keyword("Serve In Place", "file")
    def serve_in_place(self, name: str, path: Path, *, server: str | None = None) -> str:
        """Serves a file or directory of this host under a name, where it lies, and returns its URL.

        Nothing is copied, and nothing is ever written there. A board gets what is there when it asks: a file that is
        replaced is a new version, one that is removed is missing. With the same name and another path this replaces;
        it ends with `Stop Serving In Place`, or with the server.

        ``name`` is the name on the server, such as ``boot/Image`` for a file, or ``boot`` for a directory.
        ``server`` is an alias; default: the current server.

        Fails when there is nothing at ``path``, when it cannot be read, and when the server has a file or directory of
        that name already.

        Example:
        | Start HTTP Server
        | ${url}=    Serve In Place    boot    ${CURDIR}
        | Serve In Place    Image    ${CURDIR}/Image
        """
        url = self.client(server).serve(name, path)
        show_link(url, f", in place from {printable(os.fspath(path))}")
        return url

    @keyword("Stop Serving In Place", "file")
    def stop_serving_in_place(self, name: str, server: str | None = None) -> None:
        """Ends what `Serve In Place` has begun. Harmless when nothing is served there; downloads under way go on.

        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Serve In Place    boot    ${CURDIR}
        | Stop Serving In Place    boot
        """
        self.client(server).unserve(name)

    @keyword("Create Operator", "file")
    def create_operator(self, service: str, **options: str) -> opendal.Operator:
        """Returns an OpenDAL operator for `Put File`, or for ``root=`` of `Start HTTP Server`.

        ``service`` is a service such as ``s3``, ``webdav`` or ``fs``, or a URL such as ``s3://bucket/prefix``. The
        options are those of the service, each as text. Does not block: nothing is asked of the service yet.
        Fails when there is no such service, or when an option that it needs is missing.

        Example:
        | ${builds}=    Create Operator    fs    root=${CURDIR}
        | Start HTTP Server
        | Put File    boot/Image    Image    ${builds}
        """
        return new_operator(service, options)

    @keyword("Get File URL", "file", "url")
    def get_file_url(self, name: str, peer: Address | None = None, server: str | None = None) -> str:
        """Returns the URL of a file as a board sees it. The file need not exist yet. Does not block.

        ``peer`` is the address of the board that will use the URL, if it is not that of the server's settings.
        ``server`` is an alias; default: the current server. Fails when the server does not run.

        Example:
        | Start HTTP Server
        | ${url}=    Get File URL    boot/Image
        | Should End With    ${url}    /boot/Image
        """
        return self.client(server).get_url(name, peer)

    @keyword("List Files", "file")
    def list_files(self, directory: str = "/", recursive: bool = False, server: str | None = None) -> list[str]:
        """Returns the names in a directory of the server, sorted; those of directories end in ``/``.

        Empty if there is nothing. ``recursive`` includes what is in the directories below.
        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Put Text    boot/cmdline.txt    quiet
        | ${names}=    List Files    boot
        | Should Be Equal    ${names}[0]    boot/cmdline.txt
        """
        storage = self.client(server).storage
        path = directory if directory.endswith("/") else f"{directory}/"
        names = storage.scan(path) if recursive else storage.list(path)
        itself = path.lstrip("/")
        return sorted(name for name in map(str, names) if name.lstrip("/") not in ("", itself))

    @keyword("File Should Exist", "file", "check")
    def file_should_exist(self, name: str, server: str | None = None) -> None:
        """Fails unless there is a file of that name on the server; the message names the files beside it.

        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Put Text    boot/cmdline.txt    quiet
        | File Should Exist    boot/cmdline.txt
        """
        storage = self.client(server).storage
        if storage.exists(name) and not storage.exists(f"{name.rstrip('/')}/"):
            return
        directory = name.strip("/").rpartition("/")[0]
        there = self._beside(directory, server)
        raise AssertionError(f"there is no file {name!r} on the server; in {directory or '/'!r}: {there}")

    def _beside(self, directory: str, server: str | None) -> str:
        storage = self.client(server).storage
        names = sorted(set(map(str, storage.list(f"{directory}/"))) - {f"{directory}/", "/"})
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return (", ".join(map(printable, names[:10])) or "nothing") + more

    @keyword("Remove File", "file")
    def remove_file(self, name: str, server: str | None = None) -> None:
        """Removes a file from the server. Harmless when there is none; a download under way still gets all of it.

        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Put Text    boot/cmdline.txt    quiet
        | Remove File    boot/cmdline.txt
        """
        self.client(server).storage.delete(name)
