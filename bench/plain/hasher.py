"""hasher as the first draft of a workshop would have it: Flask's own server, one request at a time."""

import hashlib
import sys

from flask import Flask, Response, request

app = Flask("hasher")


@app.post("/")
def digest() -> Response:
    """Return the SHA-256 of the body in hex."""
    return Response(hashlib.sha256(request.get_data()).hexdigest(), content_type="text/plain")


app.run("127.0.0.1", int(sys.argv[1]), threaded=False)
