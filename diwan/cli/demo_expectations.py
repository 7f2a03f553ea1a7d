"""Owns what may be expected of a sample on data that is not new.

A person who was granted the aid in an earlier run is refused it now: the ministry's own register says so, and the
procedure's rules. What else should come out then is not written down here but asked of those rules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from diwan.cli.client import Client, pages
from diwan.cli.demo_samples import Sample
from diwan.cli.following import read_case
from diwan.domain.facts import Fact, FactValue, Provenance
from diwan.procedures.assess import assess
from diwan.procedures.examples import example_text
from diwan.procedures.load import load_procedure
from diwan.procedures.schema import Procedure
from diwan.procedures.values import read_value

Json = dict[str, Any]

_GRANTS = frozenset({"granted", "partly_granted", "conditional"})
_EARLIER_AID = "registry.earlier_aid"
_MOST_CASES = 10_000


def granted_before(auditor: Client, procedure: str) -> frozenset[str]:
    """Identity numbers of the applicants whom this service has granted the aid."""
    closed = pages(auditor, "/v1/cases", {"status": "closed", "procedure": procedure}, limit=_MOST_CASES)
    granted = [case["id"] for case in closed if case["result"] in _GRANTS]
    return frozenset(number for case in granted if (number := applicants_number(read_case(auditor, case)["parties"])))


def applicants_number(parties: list[Json]) -> str:
    return next((str(party.get("identity_number", "")) for party in parties if party["role"] == "applicant"), "")


def on_this_data(sample: Sample, granted: Collection[str]) -> Sample:
    """The sample, with what should come out of it where its applicant has been granted the aid before."""
    if not sample.expected["grounds"] or applicants_number(sample.dossier.application["parties"]) not in granted:
        return sample
    procedure = load_procedure(example_text(sample.procedure))
    registered = {name: True for name, fact in procedure.facts.items() if fact.source.registry == _EARLIER_AID}
    facts = cast("dict[str, Json]", sample.expected["facts"])
    facts = {**facts, "registry": {**facts.get("registry", {}), **registered}}
    people = {name: value for act in sample.acts for name, value in act.changes.items() if name in procedure.facts}
    held = [
        _fact(procedure, name, value, Provenance(kind))
        for kind, named in facts.items()
        for name, value in named.items()
    ]
    held += [_fact(procedure, name, value, Provenance.DOCUMENT, by_person=True) for name, value in people.items()]
    said = assess(procedure, held, _pieces(procedure), (), pieces_requested=1)
    result = said.result.value if said.result else None
    new = {"result": result, "amount": said.amount, "grounds": said.grounds, "facts": facts}
    return replace(sample, expected={**sample.expected, **new})


def _pieces(procedure: Procedure) -> Mapping[str, str]:
    """In the end every sample has all its pieces."""
    return dict.fromkeys(procedure.required_pieces, "given")


def _fact(
    procedure: Procedure, name: str, value: FactValue, provenance: Provenance, *, by_person: bool = False
) -> Fact:
    return Fact(
        name=name,
        value=read_value(procedure.facts[name].type, value),
        provenance=provenance,
        as_of=datetime.now(UTC).date(),
        established_by="sample",
        by_person=by_person,
    )
