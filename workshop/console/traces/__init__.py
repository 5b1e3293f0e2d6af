"""The pages of traces: search, one trace, two traces side by side, and the graph of services.

All of it comes from Jaeger's HTTP query API. `model.py` makes trees of its answers, the other modules
compute what a page shows, and `views.py` has the pages.
"""

from workshop.console.traces.views import create_blueprint

__all__ = ["create_blueprint"]
