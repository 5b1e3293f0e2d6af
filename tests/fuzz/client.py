"""A client that sends what an HTTP library would refuse to send, and counts what it sent."""

import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse

# Seconds. No answer within this time is a failure.
TIMEOUT = 30

# Requests by server, of the whole run.
sent: Counter[str] = Counter()

Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Request:
    """A request, byte by byte. A `Host` and the length of the body are added where they are missing."""

    target: bytes = b"/"
    method: bytes = b"GET"
    headers: tuple[Header, ...] = ()
    body: bytes = b""

    def encoded(self) -> bytes:
        """Return the request as it is sent."""
        names = {name.lower() for name, _ in self.headers}
        lines = [self.method + b" " + self.target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers]
        if b"host" not in names:
            lines.append(b"Host: 127.0.0.1")
        if self.body and not names & {b"content-length", b"transfer-encoding"}:
            lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


@dataclass(frozen=True)
class Answer:
    """An answer that keeps to HTTP; names of headers are in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)  # of several MB, some

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known == name), "")

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class Client:
    """A connection that is kept alive: a new one for each request would take most of the time."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._socket: socket.socket | None = None

    def send(self, request: Request) -> Answer:
        """Return the answer; raises `HTTPException` for one that is none, `OSError` if there is none."""
        kept = self._socket is not None
        try:
            return self._send(request)
        except (ConnectionError, HTTPException):
            self.close()
            if not kept:
                raise
        # The server may have closed the connection after the answer before.
        return self._send(request)

    def get(self, target: str, *headers: Header) -> Answer:
        return self.send(Request(target.encode(), headers=headers))

    def _send(self, request: Request) -> Answer:
        if self._socket is None:
            self._socket = connect(self.port)
        sent[self.name] += 1
        # What was refused before it was sent as a whole has an answer nevertheless.
        with suppress(ConnectionError):
            self._socket.sendall(request.encoded())
        answer, closed = read_answer(self._socket, request.method)
        if closed:
            self.close()
        return answer

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answer(connection: socket.socket, method: bytes = b"GET") -> tuple[Answer, bool]:
    """Return an answer, and whether the connection ends with it."""
    response = HTTPResponse(connection, method=method.decode("latin-1"))
    try:
        response.begin()
        body = response.read()
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, headers, body), response.will_close
    finally:
        response.close()


def exchange(name: str, port: int, parts: Iterable[bytes]) -> bytes:
    """Send raw bytes on a connection of its own, then nothing more; return all that comes back."""
    sent[name] += 1
    received = bytearray()
    with connect(port) as connection:
        # It is the server's right to hang up on such a client; what it said before counts.
        with suppress(OSError):
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while data := connection.recv(65536):
                received += data
    return bytes(received)
