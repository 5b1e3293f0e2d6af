"""What all pages of the console have in common: the frame, the security headers, and the errors."""

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    jsonify,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from workshop.clients import BackendAwayError, RefusedError
from workshop.console import alerts, dashboards, labs, traces
from workshop.console.backends import Backends, links_to
from workshop.lab import ROOT, Lab

# The chart library, as its Python package brings it. Importing that package would cost memory, for a file.
PLOTLY = distribution("plotly")
PLOTLY_JS = Path(str(PLOTLY.locate_file("plotly/package_data/plotly.min.js")))
# The console looks like webui: it shares webui's style sheet, and adds its own.
SHARED_STYLE = ROOT / "services" / "webui" / "static"

# The pages use nothing but what the console itself serves, and hold no code or style. The exception is a
# style element that plotly.js makes for its maps: the hash is that of its text, for the plotly.js that is
# installed. (After an upgrade, the browser's console names the new one.)
PLOTLY_STYLE = "sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o="
SECURITY_HEADERS = {
    # plotly.js paints a heat map into an image, which it then shows as a data: URL.
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    f"script-src 'self'; style-src 'self' '{PLOTLY_STYLE}'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Nothing of another site may load a page or an answer, not even as an image.
    "Cross-Origin-Resource-Policy": "same-origin",
}

common = Blueprint("common", __name__)


def create_app(backends: Backends, lab: Lab) -> Flask:
    """Return the web application. It answers GET only, and only to requests for this machine by name.

    The teacher of a lab also gets the page that tells what is broken.
    """
    app = Flask(__name__)
    # A page of another site that calls itself by a name which leads to 127.0.0.1 gets no answer.
    app.config.update(TRUSTED_HOSTS=["127.0.0.1", "localhost"], PROVIDE_AUTOMATIC_OPTIONS=False)
    links = links_to(backends)
    app.register_blueprint(common)
    for section in (dashboards, traces, alerts):
        app.register_blueprint(section.create_blueprint(backends))
    app.register_blueprint(labs.create_blueprint(lab))
    sections = ["dashboards", "traces", "alerts", "labs"]
    if lab.for_teacher:
        # Not above: what it needs takes 8 MB of memory.
        from workshop.console import faults

        app.register_blueprint(faults.create_blueprint(lab))
        sections.append("faults")

    @app.context_processor
    def frame() -> dict[str, Any]:
        return {"links": links(), "sections": sections, "plotly_version": PLOTLY.version}

    @app.before_request
    def refuse_other_sites() -> None:
        # What a page of another site loads, such as an image. It could not read the answer, but the request
        # alone makes work. A link may lead here. https://web.dev/articles/fetch-metadata
        told = request.headers.get
        if told("Sec-Fetch-Site") == "cross-site" and told("Sec-Fetch-Mode") != "navigate":
            abort(403, "another site asks for this: the console answers its own pages, and links")

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        return response

    @app.errorhandler(BackendAwayError)
    def away(error: BackendAwayError) -> tuple[AnyResponse | str, int]:
        return _error_page(str(error)), 503

    @app.errorhandler(RefusedError)
    def refused(error: RefusedError) -> tuple[AnyResponse | str, int]:
        return _error_page(str(error)), 400

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[AnyResponse | str, int]:
        text = error.description or ""
        if error.code == 405:
            text = f"{request.method} is not accepted here: GET is"
        return _error_page(text), error.code or 500

    return app


def _error_page(text: str) -> AnyResponse | str:
    """Return an error as the caller reads it: a page for a reader, JSON for a script."""
    if request.accept_mimetypes.accept_html:
        return render_template("error.html", text=text)
    return jsonify(error=text)


@common.get("/")
def index() -> AnyResponse:
    """Open the home dashboard."""
    return redirect(url_for("dashboards.index"))


@common.get("/plotly.min.js")
def plotly() -> Response:
    """Serve the chart library."""
    response = send_file(PLOTLY_JS, mimetype="text/javascript", max_age=365 * 24 * 60 * 60)
    response.cache_control.immutable = True  # the page asks for it by its version
    return response


@common.get("/shared/<any('webui.css', 'coin.svg'):name>")
def shared(name: str) -> Response:
    """Serve what the console has in common with webui."""
    return send_file(SHARED_STYLE / name)
