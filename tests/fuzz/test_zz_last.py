"""What comes last; pytest runs the files in the order of their names."""

import json

from tests.fuzz.checks import send
from tests.fuzz.client import Request, sent
from tests.spans import request as export_request
from tests.spans import resource_spans, span
from workshop.tracestore import otlp
from workshop.tracestore.app import MAX_BODY_BYTES
from workshop.tracestore.store import MAX_BYTES

LEAST = 10_000


def test_large_spans_do_not_fill_the_memory(clients):
    """So few spans that their number is no limit, of together more than the store may take."""
    size = MAX_BODY_BYTES * 3 // 4
    headers = ((b"Content-Type", otlp.PROTOBUF.encode()),)
    for number in range(2 * MAX_BYTES // size):
        one = span(str(number), tags={"text": ""})
        large = otlp.decode(json.dumps(export_request(resource_spans("large", one))).encode(), otlp.JSON)
        large.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.string_value = "x" * size
        request = Request(b"/v1/traces", b"POST", headers, large.SerializeToString())
        assert send(clients["otlp"], request)[0].status == 200
    (answer,) = send(clients["query"], Request(b"/api/traces?service=large&limit=1"))
    assert json.loads(answer.body)["data"][0]["spans"][0]["operationName"] == str(number)


def test_the_logs_hold_no_stack_trace(servers):
    for server in servers.values():
        assert "Traceback" not in server.log.read_text(), server.name


def test_the_number_of_requests():
    """Left out unless every test of this folder runs."""
    assert sent.total() >= LEAST
