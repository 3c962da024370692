"""A web server with images, for imports: what it says of each path is a function."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class WebSite:
    """pages: what each path answers. asked: the paths that were asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append(self.path)
                page = site.pages.get(self.path)
                if page is None:
                    self.send_error(404)
                else:
                    page(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def put(self, path: str, data: bytes) -> str:
        """A page with this content; its address."""
        self.pages[path] = lambda asked: reply(asked, data)
        return self.url + path

    def redirect(self, path: str, to: str) -> str:
        """A page that leads elsewhere; its address."""
        self.pages[path] = lambda asked: reply(asked, b"", 302, Location=to)
        return self.url + path


def reply(asked: BaseHTTPRequestHandler, data: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
    """length: announced, when it is to be a lie."""
    asked.send_response(status)
    for name, value in headers.items():
        asked.send_header(name, value)
    asked.send_header("Content-Length", str(len(data) if length is None else length))
    asked.end_headers()
    asked.wfile.write(data)
    asked.close_connection = length is not None


@contextmanager
def serving() -> Iterator[WebSite]:
    site = WebSite()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()
