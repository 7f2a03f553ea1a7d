"""How much of anything the service takes from outside. Sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds on what one request, and all of them together, may cost.

    `json_depth` and `json_tokens` bound a JSON text before it is parsed; `string_length` is in characters.
    `idle_seconds` is the longest silence within a body, `body_seconds` the longest time for all of it,
    `in_flight_bytes` what all bodies being read may take up in memory together. `refusals_per_minute` bounds
    what one subject's refused requests may write to the ledger, `receipts_per_minute` how many letters are checked for
    whoever asks.
    """

    json_bytes: int = MIB
    batch_bytes: int = 4 * MIB
    batch_events: int = 100
    multipart_bytes: int = 64 * MIB
    document_bytes: int = 20 * MIB
    documents: int = 50
    json_depth: int = 32
    json_tokens: int = 200_000
    string_length: int = 64 * 1024
    idle_seconds: float = 15.0
    body_seconds: float = 300.0
    in_flight_bytes: int = 512 * MIB
    refusals_per_minute: int = 5
    receipts_per_minute: int = 600
    page_size: int = 50
    page_size_max: int = 200

    @property
    def largest_body(self) -> int:
        return max(self.json_bytes, self.batch_bytes, self.multipart_bytes)
