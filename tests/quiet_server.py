"""A web server for tests that says nothing of a client that hung up."""

import http.server
from typing import Any


class QuietServer(http.server.ThreadingHTTPServer):
    """Like its base, but silent about errors: they come seconds later, when stderr belongs to another test."""

    def handle_error(self, *_: Any) -> None:
        pass
