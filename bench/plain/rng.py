"""rng as the first draft of a workshop would have it: Flask's own server, one request at a time."""

import os
import sys

from flask import Flask, Response

app = Flask("rng")


@app.get("/<int:how_many>")
def random_bytes(how_many: int) -> Response:
    """Return random bytes."""
    return Response(os.urandom(how_many), content_type="application/octet-stream")


app.run("127.0.0.1", int(sys.argv[1]), threaded=False)
