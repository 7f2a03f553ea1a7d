"""A model call sent again: what it was answered by then and now, and what it means that the answers agree or differ.

Nobody promises that two answers are the same: the words here say what each outcome shows, and what it does not.
"""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Known(StrEnum):
    """A yes or no that may not be on record."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """How a rerun ended; `asked`: it has not."""

    ASKED = "asked"
    IDENTICAL = "identical"
    DIFFERS = "differs"
    NOT_RUN = "not_run"


class Side(BaseModel):
    """What gave an answer, as far as it is on record; empty: it is not.

    `engine_version` is what the engine says at /version, `fingerprint` what it says of version and configuration in
    its answer. `batch_invariant`: whether that mode was switched on, as its host says. `cached_tokens` of the prompt
    were taken from the engine's prefix cache.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    weights_digest: str = ""
    tokenizer_digest: str = ""
    engine_version: str = ""
    fingerprint: str = ""
    batch_invariant: Known = Known.UNKNOWN
    host: str = ""
    cached_tokens: int | None = None


class Conditions(BaseModel):
    """Under which two answers were compared. `temperature` and `seed` are those of the request, as recorded."""

    model_config = ConfigDict(frozen=True)

    then: Side
    now: Side
    temperature: str = ""
    seed: int | None = None

    @property
    def drawn(self) -> bool:
        """Whether words were drawn at random by nothing that is on record."""
        return self.temperature not in ("0", "0.0") and self.seed is None

    def same(self) -> dict[str, Known]:
        """What the two sides have in common, by name."""
        then, now = self.then, self.now
        return {
            "weights": _same(then.weights_digest, now.weights_digest),
            "tokenizer": _same(then.tokenizer_digest, now.tokenizer_digest),
            "engine_version": _same(then.engine_version, now.engine_version)
            if then.engine_version
            else _names_version(then.fingerprint, now.engine_version),
            "engine_configuration": _same(then.fingerprint, now.fingerprint),
        }

    @property
    def invariant(self) -> bool:
        return self.then.batch_invariant is Known.YES and self.now.batch_invariant is Known.YES


class Meaning(StrEnum):
    """What an outcome shows."""

    IDENTICAL = "identical"
    FINDING = "differs_though_invariant"
    NOT_COMPARABLE = "differs_conditions_differ"
    DRAWN = "differs_drawn_at_random"
    PROVES_NOTHING = "differs_proves_nothing"
    NOT_RUN = "not_run"
    ASKED = "asked"


WORDS = {
    Meaning.IDENTICAL: "identical: the engine gave the recorded answer again",
    Meaning.FINDING: (
        "differs although batch-invariant on both sides: a finding to look into (the device is not on record)"
    ),
    Meaning.NOT_COMPARABLE: (
        "differs; batch-invariant on both sides, but not all else is known to be the same, so this proves nothing"
    ),
    Meaning.DRAWN: "differs; the answer was drawn at random and no seed is on record, so this proves nothing",
    Meaning.PROVES_NOTHING: "differs; without batch-invariant mode on both sides this can happen and proves nothing",
    Meaning.NOT_RUN: "not run: there is nothing to compare",
    Meaning.ASKED: "asked for: it waits for a host or is under way",
}


def meaning_of(outcome: Outcome, conditions: Conditions | None) -> Meaning:
    """What `outcome` shows under `conditions`, which only one that ran has."""
    if outcome is not Outcome.DIFFERS or conditions is None:
        return {
            Outcome.IDENTICAL: Meaning.IDENTICAL,
            Outcome.ASKED: Meaning.ASKED,
        }.get(outcome, Meaning.NOT_RUN)
    if conditions.drawn:
        return Meaning.DRAWN
    if not conditions.invariant:
        return Meaning.PROVES_NOTHING
    if any(known is not Known.YES for known in conditions.same().values()):
        return Meaning.NOT_COMPARABLE
    return Meaning.FINDING


def mismatch(then: Side, now: Side) -> str:
    """What of `now`, a host, is not known to be what answered `then`; empty where the call may be sent to it.

    What was not recorded then cannot be demanded; it is named among the conditions.
    """
    if then.model != now.model:
        return "model"
    if not then.weights_digest or then.weights_digest != now.weights_digest:
        return "weights"
    if then.tokenizer_digest and then.tokenizer_digest != now.tokenizer_digest:
        return "tokenizer"
    if Conditions(then=then, now=now).same()["engine_version"] is Known.NO:
        return "engine_version"
    if then.engine_version and not now.engine_version:
        return "engine_version"
    return ""


def _same(then: str, now: str) -> Known:
    if not then or not now:
        return Known.UNKNOWN
    return Known.YES if then == now else Known.NO


def _names_version(said: str, version: str) -> Known:
    """Before versions were recorded by themselves vLLM's stood in what it said of itself: `vllm-0.32.0-1f2e3d4c`."""
    found = _VLLM.match(said)
    return _same(found[1], version) if found else Known.UNKNOWN


_VLLM = re.compile(r"vllm[- ](\d[\w.+]*)")
