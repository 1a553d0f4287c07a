"""A proxy before a server that dies at a chosen request: what a client sees that is killed between two requests."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_READS = ("search", "get", "list")


class FlakyProxy:
    """Passes requests on until `num_writes` of them have changed something; every later one gets no answer.

    Args:
        target: URI of the server.
        num_writes: requests that may change something; None: all.
        answered: False: the last of them is carried out, and its answer is lost.
    """

    def __init__(self, target: str, num_writes: int | None = None, *, answered: bool = True):
        self.num_seen = 0
        lock, where = threading.Lock(), urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            def handle_any(handler) -> None:  # `self` is the proxy
                with lock:
                    self.num_seen += _writes(handler)
                    seen = self.num_seen
                if num_writes is not None and seen > num_writes:
                    handler.close_connection = True
                    return
                body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
                headers = {k: v for k, v in handler.headers.items() if k.lower() not in ("connection", "host")}
                link.request(handler.command, handler.path, body, headers)
                answer = link.getresponse()
                content = answer.read()
                if num_writes is not None and seen == num_writes and _writes(handler) and not answered:
                    handler.close_connection = True
                    return
                handler.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("transfer-encoding", "content-length", "connection"):
                        handler.send_header(key, value)
                handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                handler.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, format: str, *arguments: Any) -> None:  # silent
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "FlakyProxy":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _writes(handler: BaseHTTPRequestHandler) -> bool:
    """MLflow searches with POST too."""
    last = handler.path.partition("?")[0].rstrip("/").rpartition("/")[2]
    return handler.command in _WRITES and not last.startswith(_READS)
