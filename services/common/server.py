"""The web server of rng, hasher and webui, and the text of their errors."""

import logging
from dataclasses import dataclass
from urllib.parse import quote

from flask import Flask, Response, request
from granian.constants import HTTPModes, Interfaces
from granian.server.mt import MTServer
from werkzeug.exceptions import HTTPException

from common.settings import read_count, read_host

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listen:
    """Where a web service listens, and how many requests it serves at one time."""

    host: str
    port: int
    threads: int


def read_listen(threads: int) -> Listen:
    """Return where to listen, from `LISTEN_HOST` and `PORT` (in a container: port 80)."""
    return Listen(host=read_host(), port=read_count("PORT", 80, 1, 65535, "a port"), threads=threads)


class OneProcessServer(MTServer):
    """Granian, a WSGI server written in Rust, in one process.

    Granian's usual server starts a second process for the application. Its threaded one is offered for
    Python builds without the global interpreter lock only, because threads that share the lock gain nothing
    from more workers. One worker loses nothing by it, and one process per container is easier to measure,
    to pause and to kill; so this leaves that check out.
    """

    def _check_gil(self) -> None:
        pass


def serve(app: Flask, listen: Listen) -> None:
    """Serve `app` until SIGTERM or SIGINT; `listen.threads` requests at a time, the others wait in line.

    Raises `OSError` if the address cannot be had.
    """
    server = OneProcessServer(
        app.name,
        address=listen.host,
        port=listen.port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        blocking_threads=listen.threads,
        log_enabled=False,
    )
    try:
        server.serve(target_loader=lambda: app, wrap_loader=False)
    except RuntimeError as error:  # Granian's word for an address in use; below the first line is its stack
        raise OSError(f"{listen.host}:{listen.port}: {str(error).splitlines()[0]}") from None


def answer_errors_in_one_line(app: Flask) -> None:
    """Answer every HTTP error with one line of text instead of a page of HTML, and log it."""
    accepted = ", ".join(
        f"{method} {rule}"
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    )

    @app.errorhandler(HTTPException)
    def one_line(error: HTTPException) -> Response:
        text = error.description
        if error.code in (404, 405):
            path = quote(request.path, safe="/:@!$&'()*+,;=")  # a line break in it would begin a second line
            text = f"{request.method} {path} is not served here: {accepted} is accepted"
        log.warning("%s %s", error.code, text)
        response = Response(f"{text}\n", status=error.code, content_type="text/plain; charset=utf-8")
        for name, value in error.get_headers():  # such as Allow, with a 405
            if name != "Content-Type":
                response.headers[name] = value
        return response
