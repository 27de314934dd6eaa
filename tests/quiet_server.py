"""A web server for tests that does not report closed connections."""

import http.server
from typing import Any


class QuietServer(http.server.ThreadingHTTPServer):
    """Server that ignores errors, which arrive seconds later, when another test captures stderr."""

    def handle_error(self, *_: Any) -> None:
        pass
