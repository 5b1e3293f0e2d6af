"""What is no proper HTTP, clients that are slow, and bodies that are too large."""

import gzip
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from socket import socket
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.checks import send
from tests.fuzz.client import Client, Request, connect, exchange
from tests.fuzz.conftest import MIB, NAMES
from tests.fuzz.test_tracestore import check_otlp, damaged, damages
from workshop.tracestore import otlp
from workshop.tracestore.app import MAX_BODY_BYTES

# What RFC 9110 has for a transfer coding, or a version, that a server does not know.
NOT_SERVED = {501, 505}
HOST = b"Host: 127.0.0.1\r\n"

NO_HTTP = [
    *(
        b"",
        b"\r\n" * 100,
        b"\n",
        b"\0" * 1000,
        b"\xff" * 1000,
        b"GET",
        b"GET /",
        b"GET /\r\n\r\n",
        b"x" * 70_000,
    ),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # the begin of TLS
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
]
REQUEST_LINES = [
    *(b"GET / HTTP/9.9", b"GET / HTTP/1.0", b"GET / http/1.1", b"GET / HTTP/1.1 x", b" GET / HTTP/1.1"),
    *(b"GET  /  HTTP/1.1", b"GET\0/ HTTP/1.1", b"CONNECT evil.example:443 HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    *(b"GET http://evil.example/ HTTP/1.1", b"GET http://[ HTTP/1.1", b"GET //[ HTTP/1.1"),
    *(b"GET \\..\\..\\etc HTTP/1.1", b"GET ../../etc/passwd HTTP/1.1", b"GET /\xff\xfe HTTP/1.1"),
    *(b"GET /../../../../etc/passwd HTTP/1.1", b"GET /static/../webui.py HTTP/1.1"),
    *(b"GET /" + b"a" * 300_000 + b" HTTP/1.1", b"GET /" + b"a" * 3_000_000 + b" HTTP/1.1"),
]
HEADER_LINES = [
    *(
        b"no colon",
        b": no name",
        b"X : y",
        b"X\0: y",
        b"X: \0",
        b"X: a\rb",
        b"X: a\nb",
        b" folded: x",
        b"\xff: x",
    ),
    *(
        b"Expect: 100-continue",
        b"Expect: x",
        b"TE: trailers, x",
        b"Upgrade: websocket\r\nConnection: Upgrade",
    ),
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"X: " + b"a" * 3_000_000,
    b"\r\n".join(b"X-%d: y" % number for number in range(20_000)),
]
# How long a body is said to be, and bodies.
FRAMINGS = [
    *(b"Content-Length: -1", b"Content-Length: x", b"Content-Length: +1", b"Content-Length: 1, 2"),
    *(b"Content-Length: 0x5", b"Content-Length: 1_0", b"Content-Length:", b"Content-Length: " + b"9" * 30),
    *(b"Content-Length: " + b"9" * 5000, b"Content-Length: 1\r\nContent-Length: 2", b"Transfer-Encoding: x"),
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: gzip, chunked",
    ),
    *(b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: chunked\r\nContent-Length: 3"),
]
BODIES = [
    *(b"", b"x", b"0\r\n\r\n", b"5\r\nab", b"zz\r\nab\r\n", b"-1\r\nx", b"f" * 30 + b"\r\nx"),
    b"1;" + b"a" * 70_000,
]


def bad_http() -> Iterator[bytes]:
    """Give what no client would send that knows HTTP."""
    yield from NO_HTTP
    for line in REQUEST_LINES:
        yield line + b"\r\n" + HOST + b"\r\n"
    for line in HEADER_LINES:
        yield b"GET / HTTP/1.1\r\n" + HOST + line + b"\r\n\r\n"
    for framing in FRAMINGS:
        for body in BODIES:
            yield b"POST / HTTP/1.1\r\n" + HOST + framing + b"\r\n\r\n" + body


HONEST = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

# Clients at one time, of those that are slow.
SLOW = 20
# Seconds within which others are served meanwhile: as a student sees it, at once.
AT_ONCE = 2


def check_raw(name: str, received: bytes) -> None:
    """What comes back are answers of HTTP, none of which blames the server."""
    assert not received or re.match(rb"HTTP/[12]", received) or received[:3] == bytes(3), (
        name,
        received[:300],
    )
    for status in re.findall(rb"^HTTP/1\.[01] (\d{3})", received, re.MULTILINE):
        assert int(status) < 500 or int(status) in NOT_SERVED, (name, received[:1000])
    assert b"root:x:0" not in received
    assert b"Traceback" not in received


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_http(servers, clients, name):
    server = servers[name]
    for data in bad_http():
        check_raw(name, exchange(name, server.port, [data]))
    server.check()


@given(st.sampled_from(NAMES), st.binary(max_size=300), damages)
def test_damaged_http(servers, name: str, noise: bytes, damage: list[tuple[str, int, bytes]]) -> None:
    check_raw(name, exchange(name, servers[name].port, [damaged(HONEST, damage) + noise]))


# ---- slow clients

SLOWNESS = {
    "headers": b"GET / HTTP/1.1\r\n" + HOST + b"X: ",
    "body": b"POST %s HTTP/1.1\r\n"
    + HOST
    + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    "chunks": b"POST %s HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "idle": b"",
    "unread": b"GET %s HTTP/1.1\r\n" + HOST + b"\r\n",
}
LARGEST = {"rng": b"/1048576", "webui": b"/plotly.min.js", "console": b"/plotly.min.js"}


@pytest.mark.parametrize("slowness", SLOWNESS)
@pytest.mark.parametrize("name", NAMES)
def test_slow_clients_hold_up_nobody_else(servers, name, slowness):
    server = servers[name]
    start = SLOWNESS[slowness].replace(
        b"%s", LARGEST.get(name, b"/") if slowness == "unread" else _posted_to(name)
    )
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(server.port)) for _ in range(SLOW)]
        for connection in slow:
            connection.sendall(start)
        for _ in range(3):
            if slowness in ("headers", "body"):
                drip(slow)
            started = monotonic()
            with Client(name, server.port) as client:
                answer = client.get(server.alive)
            assert answer.status < 500
            assert monotonic() - started < AT_ONCE


def drip(connections: list[socket]) -> None:
    """Send one more byte on each; a server may have refused what it does not want to read."""
    for connection in connections:
        with suppress(ConnectionError):
            connection.sendall(b"x")


def _posted_to(name: str) -> bytes:
    return b"/v1/traces" if name == "otlp" else b"/"


# ---- too much

HEADER = (b"Content-Type", b"application/json")


@pytest.mark.parametrize("name", NAMES)
def test_a_body_that_claims_to_be_endless(servers, name):
    """It is refused before it has come, or without being kept."""
    target = _posted_to(name)
    head = b"POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\n" % (target, HOST)
    block = bytes(MIB)
    received = exchange(
        name, servers[name].port, [head + b"Content-Length: 1000000000000\r\n\r\n", *[block] * 8]
    )
    check_raw(name, received)

    def chunks() -> Iterator[bytes]:
        yield head + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(128):
            yield b"%x\r\n%s\r\n" % (len(block), block)

    check_raw(name, exchange(name, servers[name].port, chunks()))
    servers[name].check()


def message(*fields: tuple[int, bytes]) -> bytes:
    """Return a protobuf message of fields, each a number and the bytes of a message in it."""
    result = b""
    for number, content in fields:
        length, rest = b"", len(content)
        while rest > 127:
            length, rest = length + bytes([rest & 127 | 128]), rest >> 7
        result += bytes([number << 3 | 2]) + length + bytes([rest]) + content
    return result


def spans(content: bytes) -> bytes:
    """Return an export request of one resource and scope, around encoded spans."""
    return message((1, message((2, content))))


def filling(part: bytes, share: float = 1) -> bytes:
    """Return a part so often that it fills a share of the largest body, with a kilobyte around it."""
    return part * int((MAX_BODY_BYTES * share - 1000) // len(part))


# Few bytes that become many: when they are inflated, or when they are read.
BOMBS = {
    "zeros": (otlp.JSON, bytes(MAX_BODY_BYTES + 1)),
    "very many zeros": (otlp.JSON, bytes(10 * MAX_BODY_BYTES)),
    "spaces": (otlp.JSON, b"{}".ljust(MAX_BODY_BYTES)),
    "brackets": (otlp.JSON, filling(b"[")),
    # Each of these takes Python some microseconds.
    "empty objects": (otlp.JSON, b'{"resourceSpans":[' + filling(b"{},", 0.25) + b"{}]}"),
    "unknown objects": (otlp.JSON, b'{"x":[' + filling(b"{},") + b"{}]}"),
    "one text": (otlp.JSON, b'{"x":"' + filling(b"\\u00e9") + b'"}'),
    "empty spans": (otlp.PROTOBUF, spans(filling(b"\x12\x00"))),
    "empty attributes": (otlp.PROTOBUF, spans(message((2, filling(b"\x4a\x00"))))),
    "empty resources": (otlp.PROTOBUF, filling(b"\x0a\x00")),
    "unknown fields": (otlp.PROTOBUF, filling(b"\xf8\x07\x00")),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb(servers, clients, name):
    """Two at a time; meanwhile others get through."""
    media_type, body = BOMBS[name]
    packed = gzip.compress(body, 6)
    headers = ((b"Content-Type", media_type.encode()), (b"Content-Encoding", b"gzip"))
    request = Request(b"/v1/traces", b"POST", headers, packed)

    def explode() -> None:
        with Client("otlp", servers["otlp"].port) as client:
            check_otlp(send(client, request)[0], media_type)

    slowest = 0.0
    with ThreadPoolExecutor(2) as executor:
        bombs = [executor.submit(explode) for _ in range(2)]
        while wait(bombs, timeout=0.05).not_done:
            started = monotonic()
            send(clients["query"], Request(b"/api/services"))
            slowest = max(slowest, monotonic() - started)
    for bomb in bombs:
        bomb.result()
    assert slowest < AT_ONCE


def test_a_bomb_in_a_bomb(servers, clients):
    bomb = gzip.compress(gzip.compress(bytes(100 * MIB)))
    for encoding in (b"gzip", b"gzip, gzip", b"deflate"):
        headers = (HEADER, (b"Content-Encoding", encoding))
        (answer,) = send(clients["otlp"], Request(b"/v1/traces", b"POST", headers, bomb))
        check_otlp(answer, otlp.JSON)
        assert answer.status == 400
