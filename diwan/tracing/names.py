"""Every attribute that a span of ours may have, and the form of its value. What is not listed here leaves no process.

Ids, states, machine names, numbers and templates only. An attribute that could hold what an applicant or a sender
wrote has no place here; `admitted` also drops values that do not look like machine names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from diwan.tracing import genai

Value = str | int | float | bool

TENANT = "diwan.tenant"
CASE = "diwan.case"
STEP = "diwan.step"
VISIT = "diwan.visit"
SPEC = "diwan.agent"
CALL = "diwan.call"
POSITION = "diwan.position"
TOOL = "diwan.tool"
ATTEMPT = "diwan.attempt"
RINGS = "diwan.rings"
EVENT_TYPE = "diwan.event.type"
WEBHOOK = "diwan.webhook"
DELIVERY = "diwan.delivery"
OUTCOME = "diwan.outcome"
QUEUE = "diwan.queue"
WORKFLOW_RUN = "diwan.workflow_run"
# Names of OpenTelemetry's stable conventions.
ERROR = "error.type"
METHOD = "http.request.method"
ROUTE = "http.route"
STATUS = "http.response.status_code"
SERVICE = "service.name"
VERSION = "service.version"

ALLOWED = frozenset(
    {
        *(TENANT, CASE, STEP, VISIT, SPEC, CALL, POSITION, TOOL, ATTEMPT, RINGS, EVENT_TYPE, WEBHOOK, DELIVERY),
        *(OUTCOME, QUEUE, WORKFLOW_RUN, ERROR, METHOD, ROUTE, STATUS, SERVICE, VERSION),
        *genai.NAMES,
    }
)

_MACHINE = re.compile(r"[A-Za-z0-9_./:{}+@-]{1,200}")
# `POST /v1/events`, `chat demo-engine`: a verb and a template or a machine name.
_SPAN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}(?: [A-Za-z0-9_./:{}+@-]{1,200})?")


def admitted(attributes: Mapping[str, object]) -> dict[str, Value]:
    """Those of `attributes` that may leave the process: of a listed name, and a number or a machine name."""
    kept: dict[str, Value] = {}
    for name, value in attributes.items():
        number = isinstance(value, bool | int | float)
        if name in ALLOWED and (number or (isinstance(value, str) and _MACHINE.fullmatch(value))):
            kept[name] = value  # type: ignore[assignment]
    return kept


def span_name(name: str) -> str:
    """The name if it is a verb and a machine name, else a word that says that it was not."""
    return name if _SPAN_NAME.fullmatch(name) else "unnamed"
