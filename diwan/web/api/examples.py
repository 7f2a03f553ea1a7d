"""Examples that /openapi.json shows. The people in them are invented."""

from __future__ import annotations

from typing import Any

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "portal-2026-11-23-000017",
    "source": "urn:diwan:counter",
    "type": "diwan.application.submitted",
    "time": "2026-11-23T09:30:00Z",
    "datacontenttype": "application/json",
    "data": {
        "procedure": "direct-housing-aid",
        "reference": "P-000017",
        "language": "fr",
        "parties": [{"role": "applicant", "name": "Zineb Exemple", "language": "fr", "identity_number": "ZZ100017"}],
        "answers": {"price": 280000, "rooms": 3},
        "documents": [{"name": "promesse.pdf", "piece": "promise_of_sale", "part": "promesse"}],
    },
}
ACCEPTED: dict[str, Any] = {
    "status": 202,
    "case": "0d6c9b52-0f8a-5f53-9a35-5b0a0c7f6f11",
    "number": "DW-2026-000142",
    "inbox_seq": 1,
    "address": "/v1/cases/0d6c9b52-0f8a-5f53-9a35-5b0a0c7f6f11",
    "receipt": "/v1/cases/0d6c9b52-0f8a-5f53-9a35-5b0a0c7f6f11/receipt",
    "documents": [],
}
PROBLEM: dict[str, Any] = {
    "type": "urn:diwan:problem:event.data_invalid",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "The body is not as described in /openapi.json.",
    "code": "event.data_invalid",
    "remedy": "Correct the fields listed under `errors`.",
    "disposition": "final",
    "errors": [{"pointer": "/data/parties/0/name", "detail": "Field required"}],
}
BATCH_ANSWER = [ACCEPTED, PROBLEM]
ACT: dict[str, Any] = {
    "digest": "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592",
    "reason": "The promise of sale says 350,000.",
    "changes": {"price": 350000},
}

CLOCK: dict[str, Any] = {
    "since": "2026-11-24T09:30:00Z",
    "finding": "corrected",
    "reason": "The time server was set wrongly; compared with the telephone's time.",
}

ERASURE: dict[str, Any] = {
    "classes": ["decision", "evidence", "exchange"],
    "ground": "request",
    "legal_basis": "Act No. 00-26, Article 30",
    "reason": "Her letter of 3 March; she withdrew before anything was paid.",
}
REASON: dict[str, Any] = {"reason": "Action for annulment, served on 3 March."}
