"""What to send: requests that are almost right, and hostile in one or several ways."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.fuzz.client import Header, Request

# Requests of one example: what one does to a connection shows in the answer to the next.
REQUESTS = 8

HTML = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"
INJECTION = "x\r\nX-Injected: 1\r\n\r\n<script>"

SEGMENTS = [
    *(b"", b".", b"..", b"...", b"%2e%2e", b"%2E%2e", b"..%2f..%2f..%2fetc%2fpasswd", b"..%5c..%5c", b"..;"),
    *(b"%00", b"%0a", b"%0d%0aX-Injected:%201", b"%09", b"%7f", b"%c0%ae%c0%ae", b"%ed%a0%80", b"%ff%fe"),
    *(b"\xc3\xa9", b"\xff", b"%", b"%zz", b"%u002e", b"%23", b"%3f", b"*", b"~root", b"etc", b"passwd"),
    *(b"32", b"0", b"-1", b"+1", b"1e3", b"0x10", b"1_0", b"%D9%A3%D9%A2", b"9" * 19, b"9" * 5000),
    *(b"%E2%80%AE", b"%F0%9F%98%80", b"a" * 3000, quote(HTML).encode(), b"http:", b"[", b"@", b":80", b"%20"),
]
VALUES = [
    *(
        "",
        "0",
        "-0",
        "-1",
        "1",
        "1.5",
        "+5",
        " 5",
        "5 ",
        "1_000",
        "0x1f",
        "1e3",
        "1e400",
        "9" * 30,
        "9" * 5000,
    ),
    *("NaN", "nan", "inf", "-Infinity", "true", "null"),
    # Digits, but not those of ASCII.
    *("\u0663\u0662", "\uff13\uff12", "\u00b2", "\u2167", "\u0661\u0660ms", "1\uff10us"),
    *("100", "1000", "1001", "2147483647", "2147483648", "-2147483648", "1500", "10000000"),
    *("9223372036854775807", "-9223372036854775807", "-9223372036854775808", "9223372036854775808"),
    *("now", "now-5m", "now-0s", "now-1d", "now-999999999d", "now+5m", "0ms", "99999999999999"),
    *("1ms", "1.5s", "-5s", "1h30m", "9" * 17 + "h", ".5s", "1.s", "s", "1µs", "1μs"),
    *(
        "[]",
        "{}",
        "[" * 2000,
        '{"a":' * 2000,
        '{"a":"b"}',
        '{"a":1}',
        '{"a":"\\ud800"}',
        '{"\\u0000":""}',
        "{",
    ),
    *("a=b", 'a="b', 'a="\\ud800"', 'a="\\x"', "=", "a:b", ":", "error=true", " ".join(["a=b"] * 50)),
    *("..", ".", "../..", "/", "%", "\0", "\ufeff", "\u2028", "\U0001f600", HTML, INJECTION, "a" * 3000),
    *("worker", "rng", "all", "on", "javascript:alert(1)", "//evil.example", "http://evil.example/"),
]
HEADERS: dict[bytes, list[bytes]] = {
    b"traceparent": [
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-00000000000000000000000000000000-0000000000000000-01",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-" + b"z" * 32 + b"-b7ad6b7169203331-01",
        b"-" * 200,
        b"\xff",
    ],
    b"tracestate": [b"a=b", b"a=b," * 600, b"=,=,", b"\xe9=1"],
    b"baggage": [b"a=b;c", b"a=" + b"%ff" * 3000, b"," * 5000, b"=", b"a=b," * 200],
    b"Accept": [
        *(
            b"text/html",
            b"application/json",
            b"*",
            b"/",
            b"text/html;q=nan",
            b"text/html;q=\xd9\xa3",
            b";;q=,",
        ),
        *(b"*/*;q=1e999", b"a/b," * 500, b'text/html;a="', b"text/plain;version=abc", b"text/plain;version="),
        b"application/openmetrics-text;version=1.0.0",
        b"application/openmetrics-text;version=x;escaping=allow-utf-8",
        b"text/plain;version=" + b"9" * 5000,
    ],
    b"Accept-Encoding": [b"gzip", b"gzip;q=x", b"br,*;q=0", b"identity;q=0"],
    b"Accept-Language": [b"x" * 1000, b"en;q=2", b"*", b"\xff"],
    b"Range": [
        b"bytes=0-0",
        b"bytes=-1",
        b"bytes=5-1",
        b"bytes=0-0,2-3",
        b"bytes=" + b"0-," * 500,
        b"x=\xb2-\xb3",
    ],
    b"If-Range": [b'"x"', b"Thu, 99 Foo 2020", b"\xff"],
    b"If-Modified-Since": [b"Thu, 01 Jan 1970 00:00:00 GMT", b"Mon, 99 Foo 99999 99:99:99", b"0", b"\xff"],
    b"If-None-Match": [b"*", b'W/"', b'"' * 1000, b"\xff"],
    b"Content-Type": [
        *(b"application/json", b"application/x-protobuf", b"text/plain", b"multipart/form-data; boundary="),
        *(b"application/x-www-form-urlencoded", b"application/json; charset=\xff", b"/", b";", b"a" * 3000),
    ],
    b"Content-Encoding": [b"gzip", b"deflate", b"br", b"GZIP", b"gzip, gzip", b"\xff", b"identity"],
    b"Cookie": [b"session=x", b"=" * 2000, b"a=b;" * 500, b'a="\xff'],
    b"Authorization": [b"Basic !", b"Basic //8=", b"Bearer", b"Digest a=b,", b"\xff"],
    b"Host": [
        *(
            b"127.0.0.1",
            b"localhost",
            b"localhost:80",
            b"evil.example",
            b"127.0.0.1.evil.example",
            b"[::1]",
            b"",
        ),
        *(
            b"127.0.0.1:99999",
            b"127.0.0.1:" + b"9" * 5000,
            b"a@127.0.0.1",
            b"127.0.0.1, evil.example",
            b"\xff",
        ),
        *(b"127.0.0.1/../..", b"xn--\xff", b".", b"-", b"127.0.0.1:0", b"127.0.0.1:\xd9\xa3"),
    ],
    b"Origin": [b"null", b"http://evil.example", b"http://127.0.0.1", b"\xff"],
    b"Referer": [b"http://evil.example/", b"\xff"],
    b"Sec-Fetch-Site": [b"cross-site", b"same-origin", b"same-site", b"none", b"x"],
    b"Sec-Fetch-Mode": [b"navigate", b"no-cors", b"cors", b"x"],
    b"X-Forwarded-For": [b"127.0.0.1", b"\xff"],
    b"X-Forwarded-Host": [b"evil.example"],
    b"X-Forwarded-Proto": [b"https", b"javascript"],
    b"X-Forwarded-Prefix": [b"//evil.example", b"/\xff"],
    b"X-Original-URL": [b"/faults/"],
    b"X-HTTP-Method-Override": [b"DELETE"],
    b"X_Underscore": [b"1"],
    b"X-Long": [b"a" * 7000],
}
METHODS = [
    *(b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"QUERY", b"PROPFIND"),
    *(b"get", b"G!T", b"X" * 100),
]
PRINTABLE = bytes(byte for byte in range(0x21, 0x100) if byte != 0x7F)

field_bytes = st.lists(st.sampled_from(PRINTABLE + b" \t"), max_size=20).map(lambda some: bytes(some).strip())
# The edges of the types that a number is read into.
numbers = st.sampled_from([0, 1, 2**31, 2**32, 2**53, 2**63, 2**63 // 1000, 2**63 // 10**6, 2**64]).flatmap(
    lambda edge: st.integers(-2, 2).flatmap(
        lambda more: st.sampled_from([str(edge + more), str(-edge + more)])
    )
)
texts = st.sampled_from(VALUES) | st.text(max_size=20)
headers = st.one_of(
    st.sampled_from([(name, value) for name, values in HEADERS.items() for value in values]),
    st.tuples(st.sampled_from(sorted(HEADERS)), field_bytes),
)
bodies = st.just(b"") | st.binary(max_size=200) | st.sampled_from([bytes(70_000), b"a=" + b"b&" * 5000])


def encoded(parameters: Mapping[str, str]) -> str:
    """Return parameters as they stand in a URL."""
    return urlencode(parameters, errors="surrogatepass")


def _quoted(text: str) -> bytes:
    return quote(text.encode("utf-8", "surrogatepass"), safe="").encode()


def targets(paths: list[str], names: list[str]) -> st.SearchStrategy[bytes]:
    """Return targets near the given paths, with parameters near those of the given names."""
    segments = st.sampled_from(SEGMENTS) | st.text(max_size=10).map(_quoted)
    known = st.sampled_from([path.encode() for path in paths])
    path = st.one_of(
        known,
        known,
        st.builds(lambda start, more: start + b"/" + b"/".join(more), known, st.lists(segments, max_size=3)),
        st.lists(segments, min_size=1, max_size=4).map(lambda some: b"/" + b"/".join(some)),
    )
    name = st.sampled_from(names) | texts
    pair = st.builds(lambda key, value: _quoted(key) + b"=" + _quoted(value), name, texts)
    raw = st.lists(st.sampled_from(PRINTABLE.replace(b"#", b"")), max_size=20).map(bytes)
    query = st.lists(pair | raw, max_size=4).map(b"&".join)
    return st.builds(lambda before, after: before + (b"?" + after if after else b""), path, query)


def _only_one_host(some: list[Header]) -> tuple[Header, ...]:
    """Return the headers without a second Host, with which every server refuses a request at once."""
    hosts = [header for header in some if header[0] == b"Host"]
    return tuple(header for header in some if header not in hosts[1:])


def requests(
    paths: list[str], names: list[str], methods: list[bytes] = METHODS
) -> st.SearchStrategy[list[Request]]:
    """Return strategies of `REQUESTS` requests; every second one is a GET without a body."""
    method = st.just(b"GET") | st.sampled_from(methods)
    some_headers = st.just(()) | st.lists(headers, max_size=4).map(_only_one_host)
    one = st.one_of(
        st.builds(Request, targets(paths, names), headers=some_headers),
        st.builds(Request, targets(paths, names), method, some_headers, bodies),
    )
    return st.lists(one, min_size=REQUESTS, max_size=REQUESTS)
