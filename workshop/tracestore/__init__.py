"""The embedded trace store: OTLP/HTTP in, a bounded store in memory, a part of Jaeger's HTTP query API out.

It stands in for a real Jaeger until there is one on the machine. It answers as Jaeger v2 with memory storage
does; one contract suite runs against both. Where it differs on purpose:

- The store is bounded by spans, not by traces, and forgets services and operations with their last span.
- Invalid spans are rejected one by one and reported as partial success; Jaeger stores them or refuses all.
- A search for the tag `error` looks at the span's status: `true` finds errors, `false` all others.
  Jaeger 2.13 finds spans of status OK with either; later releases find errors with `true`.
- A span that was sent twice is stored once; Jaeger drops the copy when it answers.
- A number that JSON cannot say (NaN, infinity) is shown as text; Jaeger cannot show such a trace.
- Order is fixed: spans by start time, names by alphabet. Jaeger's is random.
"""
