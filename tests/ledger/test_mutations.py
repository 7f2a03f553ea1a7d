"""Some of `make mutations`, which runs 100,000: nothing that was changed is accepted."""

from __future__ import annotations

from tests.ledger.mutated import BYTES, DISCLOSURES, PROOFS
from tests.ledger.mutated_bundles import CARE
from tests.ledger.mutations import run


def test_no_mutation_is_accepted_and_every_kind_was_tried() -> None:
    outcome = run(2_000, seed=6962)
    assert outcome.accepted == []
    assert {f"proof: {kind}" for kind in (*BYTES, *PROOFS)} <= set(outcome.refused)
    assert {f"fields: {kind}" for kind in (*BYTES, *DISCLOSURES)} <= set(outcome.refused)
    assert {f"bundle: {kind}" for kind in (*BYTES, *CARE, "cover")} <= set(outcome.refused)
    assert sum(outcome.refused.values()) > 1_900
