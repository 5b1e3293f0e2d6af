"""The lab's Grafana dashboards as code: one module per dashboard, and the JSON that is made of it beside it.

`make dashboards` makes the JSON anew. Each module has a function `build()` that returns its dashboard;
`panels.py` says what all have in common.
"""
