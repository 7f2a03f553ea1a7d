"""Spans: where a case's time goes, for operators. Off unless a setting names where they go; never the audit's source.

`spans` is what the service calls, `export` (loaded only when switched on) is OpenTelemetry, `names` what may leave.
"""
