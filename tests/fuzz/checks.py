"""What holds for every answer to whatever was asked, and for every page."""

import json
from html.parser import HTMLParser
from urllib.parse import urlsplit

from tests.fuzz.client import Answer, Client, Request

HEADERS = {
    *("allow", "cache-control", "connection", "content-disposition", "content-length", "content-range"),
    *("content-security-policy", "content-type", "cross-origin-resource-policy", "date", "etag", "expires"),
    *("last-modified", "location", "referrer-policy", "server", "transfer-encoding", "vary", "via"),
    *("accept-ranges", "x-content-type-options"),
}
# What stands in a file of this repository, or of the system, that nobody is to read over the network.
SECRETS = (b"root:x:0", b"def create_app", b"Traceback (most recent")
# With these the store answers as Jaeger does: tests/live/test_trace_backend_contract.py
LIKE_JAEGER = {
    "search depth must be greater than 0 and less than max traces",
    "end time must be greater than start time",
}
LAB_IS_DOWN = "is not running"

TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "noscript",
        "body",
        "header",
        "nav",
        "main",
        "section",
    ),
    *(
        "article",
        "aside",
        "div",
        "p",
        "br",
        "span",
        "i",
        "em",
        "strong",
        "code",
        "pre",
        "kbd",
        "time",
        "a",
        "img",
    ),
    *("h1", "h2", "h3", "h4", "ul", "ol", "li", "dl", "dt", "dd", "details", "summary", "blockquote", "hr"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "g", "defs", "marker", "line", "path"),
    *("rect", "text", "form", "fieldset", "legend", "label", "input", "select", "option", "button"),
}


def is_documented(name: str, request: Request, answer: Answer) -> bool:
    """Tell whether an error of the server is the right answer, and says so."""
    match name:
        case "query" if answer.status == 500:
            return json.loads(answer.body)["errors"][0]["msg"] in LIKE_JAEGER
        case "console" if request.target.partition(b"?")[0].endswith(b"/state"):
            return answer.status == 503 and LAB_IS_DOWN in answer.text
    return False


def check_answer(name: str, request: Request, answer: Answer) -> None:
    """Fail unless an answer is one that a server in good order gives."""
    what = f"{name} answered {answer.status} {answer.headers}: {answer.text[:1000]}"
    assert 200 <= answer.status < 500 or is_documented(name, request, answer), what
    assert {header for header, _ in answer.headers} <= HEADERS, what
    assert not any(secret in answer.body for secret in SECRETS), what
    if location := answer.header("location"):
        asked = next(
            (value.decode("latin-1") for key, value in request.headers if key == b"Host"), "127.0.0.1"
        )
        target = urlsplit(location)
        assert target.scheme in ("", "http"), what
        assert target.netloc in ("", asked), what  # none at all where the Host was not usable
    if answer.header("content-type").startswith("application/json") and answer.body:
        json.loads(answer.body, parse_constant=_no_json)
    if answer.header("content-type").startswith("text/html"):
        check_page(answer.text)


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def send(client: Client, *requests: Request) -> list[Answer]:
    """Send requests one after the other, check each answer, and return them."""
    answers = []
    for request in requests:
        answers.append(client.send(request))
        check_answer(client.name, request, answers[-1])
    return answers


class Page(HTMLParser):
    """Reads a page as a browser does, and fails at what would run or load something of somebody else's."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, f"<{tag} {attrs}>"
        for name, value in attrs:
            assert not name.startswith("on"), f"<{tag} {attrs}>"
            assert name not in ("style", "srcdoc", "formaction"), f"<{tag} {attrs}>"
            if name in ("href", "src", "action"):
                assert self._is_ours(tag, value or ""), f"<{tag} {attrs}>"

    def _is_ours(self, tag: str, url: str) -> bool:
        link = urlsplit(url)
        if link.scheme or link.netloc:
            return tag == "a" and link.scheme in ("http", "https")
        return url.startswith(("/", "#")) or not url

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(text: str) -> Page:
    """Return a page that was read; fails if what was sent in became a part of its code."""
    page = Page()
    page.feed(text)
    page.close()
    return page
