"""The console: dashboards, traces and alerts of a lab as web pages, also where there is no Grafana.

It reads Prometheus and Jaeger (or the embedded trace store) and changes nothing. Each kind of page is a
blueprint: `dashboards`, `traces`, `alerts`. `app.py` says what they have in common.
"""
