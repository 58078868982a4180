"""A small web server for the page: it reads files of one folder, or one file, and nothing else."""

import errno
import os
import re
import socket
import socketserver
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from nowcast.runtime.errors import UserError

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".gif": "image/gif",
    ".nc": "application/x-netcdf",
    ".tif": "image/tiff",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# what a page that is one file may allow itself: its own script and style sheet, by their hashes
_STATED_POLICY = re.compile(
    rb'<meta http-equiv="Content-Security-Policy" content="([^"]{1,1000})">'
)
_DIRECTIVE = re.compile(
    r"(default|script|style|img|connect)-src( 'none'| 'self'| data:| 'sha256-[A-Za-z0-9+/]{43}=')+"
    r"|(base-uri|form-action) 'none'"
)
_HEAD = 4096  # bytes of a page in which it states that
_SECONDS = 30  # that a client may be silent
_MOST_CLIENTS = 64
_BLOCK = 1 << 16  # bytes that are read and sent at once


class Server(ThreadingHTTPServer):
    """Serves in threads of its own from the moment it is made until ``close``."""

    daemon_threads = True
    request_queue_size = 2 * _MOST_CLIENTS

    def __init__(self, address: tuple, family: int, root: Path, page: str | None = None):
        self.address_family, self.root, self.page = family, root, page
        self._clients, self._lock = set(), threading.Lock()
        super().__init__(address, _Handler)
        threading.Thread(target=self._serve, name="nowcast page", daemon=True).start()

    def _serve(self) -> None:
        self.serve_forever(poll_interval=0.1)  # seconds that ``close`` may have to wait

    @property
    def url(self) -> str:
        """Where the page is, with the port that was taken."""
        host, port = self.server_address[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def close(self) -> None:
        """Take no more requests, end those under way, and free the port."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for client in self._clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Bind without asking the name service what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request, client_address) -> None:
        """A thread for the client, as long as there are not too many."""
        with self._lock:
            has_room = len(self._clients) < _MOST_CLIENTS
            if has_room:
                self._clients.add(request)
        if has_room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request) -> None:
        """As above, and make room again."""
        with self._lock:
            self._clients.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """A client that goes away, or speaks no HTTP, is no concern of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "nowcast", ""
    timeout = _SECONDS

    def log_message(self, format, *arguments) -> None:
        """Nothing is printed."""

    def version_string(self) -> str:
        return self.server_version

    def send_error(self, code, message=None, explain=None) -> None:
        """The reason as one plain line; whatever else the client said is not read."""
        headers = {
            "Content-Type": _TYPES[".txt"],
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        code = HTTPStatus(code)
        if code in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
            code = HTTPStatus.METHOD_NOT_ALLOWED
            headers["Allow"] = "GET, HEAD"
        body = f"{code.value} {code.phrase}\n".encode()
        self._start(code, headers | {"Content-Length": len(body)})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _start(self, code: HTTPStatus, headers: dict) -> None:
        self.send_response(code)
        ending = {"Connection": "close"} if self.close_connection else {}
        for name, value in (_HEADERS | ending | headers).items():
            self.send_header(name, str(value))
        self.end_headers()

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # a body is not read, and must not be taken for the next request
            self.close_connection = True
        file = _opened(self.server.root, self.path, self.server.page)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            suffix, facts = Path(file.name).suffix, os.fstat(file.fileno())
            tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}-{facts.st_ino:x}"'
            headers = {
                "ETag": tag,
                # Fields never change under their address (each publication has a folder of its
                # own); everything else is asked for again.
                "Cache-Control": "max-age=3600" if suffix == ".bin" else "no-cache",
                "Content-Type": _TYPES.get(suffix, "application/octet-stream"),
            }
            if suffix in (".html", ".htm"):
                headers |= _policy_of(file)
            if tag in (self.headers.get("If-None-Match") or ""):
                self._start(HTTPStatus.NOT_MODIFIED, headers)
                return
            self._start(HTTPStatus.OK, headers | {"Content-Length": facts.st_size})
            left = 0 if self.command == "HEAD" else facts.st_size
            while left and (block := file.read(min(left, _BLOCK))):
                self.wfile.write(block)
                left -= len(block)
            # the file became shorter: fewer bytes were sent than promised
            self.close_connection |= left > 0

    do_HEAD = do_GET


def _policy_of(page: BinaryIO) -> dict[str, str]:
    """The header with the policy that a page states for itself, where it is as strict as ours but
    for a script and a style sheet that it has inside.
    """
    found = _STATED_POLICY.search(page.read(_HEAD))
    page.seek(0)
    directives = found[1].decode("ascii", "replace").split("; ") if found else []
    if not directives or not all(map(_DIRECTIVE.fullmatch, directives)):
        return {}
    policy = "; ".join([*directives, "frame-ancestors 'none'"])
    return {"Content-Security-Policy": policy}


def _opened(root: Path, target: str, page: str | None = None) -> BinaryIO | None:
    """The regular file that a request means, open; None for what is not there, hidden, a folder, or
    outside the root (links, too), and, where one page alone is served, for all else.
    """
    try:
        parts = unquote(urlsplit(target).path, errors="strict").split("/")[1:]
        if parts == [""]:
            parts = [page or "index.html"]
        if page is not None and parts != [page]:
            return None
        if not all(part.isprintable() and "\\" not in part and _is_seen(part) for part in parts):
            return None
        path = root.joinpath(*parts).resolve(strict=True)
        inside = path.is_relative_to(root) and all(map(_is_seen, path.relative_to(root).parts))
        return path.open("rb") if inside and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # the last: links in a circle, before Python 3.13
        return None


def _is_seen(part: str) -> bool:
    """Whether a part of a path is no hidden file, nor the way up."""
    return part != "" and not part.startswith(".")


def serve(
    folder: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    stop: threading.Event | None = None,
) -> Server:
    """Serve a folder, or a page that is one file, over HTTP, read-only, until the server is closed.

    Args:
        folder: what can be read; hidden files and links that lead out of it cannot, and no folder
            is listed. An HTML file: it alone.
        host: the address to listen on; ``127.0.0.1`` is this machine alone, ``0.0.0.0`` everyone
            who can reach it.
        port: 0 takes any free one (see ``Server.url``).
        stop: an event that closes the server.

    Returns:
        The server, already at work; ``close`` ends it.

    Raises:
        UserError: there is no such folder, or the address cannot be listened on.
    """
    root, page = Path(folder), None
    if root.is_file() and root.suffix.lower() in (".html", ".htm"):
        root, page = root.parent, root.name
    if not root.exists():
        raise UserError(
            f"{folder} does not exist; give the folder that nowcast watch writes to, or a page "
            "that is one file (FILE.html)."
        )
    if not root.is_dir():
        raise UserError(
            f"{folder} is no folder; give the folder that nowcast watch writes to, or a page that "
            "is one file (FILE.html)."
        )
    if not 0 <= port <= 65535:
        raise UserError(
            f"port {port} does not exist; give one from 1 to 65535, or 0 for any free one."
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        server = Server(address, family, root.resolve(), page)
    except (OSError, UnicodeError) as error:
        reason = error  # a UnicodeError: no name of a machine looks like that
        if isinstance(error, OSError):
            busy = error.errno == errno.EADDRINUSE
            reason = "another program listens there" if busy else error.strerror or error
        raise UserError(
            f"port {port} of {host} cannot be served: {reason}; give another port (0 takes a "
            "free one) or host."
        ) from None
    if stop is not None:

        def close_then() -> None:
            stop.wait()
            server.close()

        threading.Thread(target=close_then, name="nowcast page, stop", daemon=True).start()
    return server
