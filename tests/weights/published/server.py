"""A web server on loopback with the faults of real ones."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """Files by path, and how they are served."""

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Statuses of the next requests for a path, instead of the file."""
    redirects: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """After how many bytes of the body the connections of the next requests for a path are closed."""
    ranges: bool = True
    """Whether ranges are served."""
    tags: bool = True
    """Whether answers have an ETag."""
    html: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers of every answer."""
    error_codes: dict[str, str] = field(default_factory=dict)
    """What the Hugging Face hub adds to a 404: EntryNotFound, RepoNotFound, RevisionNotFound."""
    delay: float = 0.0
    """Seconds before an answer."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of each request."""
    url: str = ""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            server.requests.append((self.path, asked))
            threading.Event().wait(server.delay)
            self._answer(asked, with_body=True)

        def do_HEAD(self) -> None:
            self._answer("", with_body=False)

        def _answer(self, asked: str, *, with_body: bool) -> None:
            if server.statuses.get(self.path):
                self.send_error(server.statuses[self.path].pop(0))
            elif self.path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[self.path])
                self.end_headers()
            elif self.path not in server.files:
                self.send_response(404)
                if self.path in server.error_codes:
                    self.send_header("X-Error-Code", server.error_codes[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._send(server.files[self.path], asked, with_body=with_body)

        def _send(self, body: bytes, asked: str, *, with_body: bool) -> None:
            tag = f'"{hashlib.sha256(body).hexdigest()}"'
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            same = self.headers.get("If-Range", tag) == tag
            if asked and server.ranges and same and start >= len(body):
                self.send_error(416)
                return
            if asked and server.ranges and same:
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                body = body[start:]
            else:
                self.send_response(200)
            if server.tags:
                self.send_header("ETag", tag)
            self.send_header("Content-Type", "text/html" if self.path in server.html else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if not with_body:
                return
            cuts = server.cuts.get(self.path)
            self.wfile.write(body[: cuts.pop(0)] if cuts else body)
            self.close_connection = True

    return Handler


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of loopback."""
    server = Server()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
