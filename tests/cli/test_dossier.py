"""The folder that `diwan submit` takes: what is said about a wrong one, and ids that follow the content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.cli.dossier import Dossier, File, follow_up_event, opening_event, read_dossier
from diwan.domain.errors import InvalidInput
from diwan.domain.event import Application

APPLICATION: dict[str, Any] = {
    "procedure": "direct-housing-aid",
    "language": "ar",
    "parties": [{"role": "applicant", "name": "أمينة المثال", "language": "ar"}],
    "answers": {"price": 280000},
}
SOURCE = "urn:diwan:counter"


def folder(tmp_path: Path, application: Any = APPLICATION, **documents: bytes) -> Path:
    text = application if isinstance(application, str) else json.dumps(application, ensure_ascii=False)
    (tmp_path / "application.json").write_text(text, encoding="utf-8")
    (tmp_path / "documents").mkdir()
    for name, content in documents.items():
        (tmp_path / "documents" / f"{name}.pdf").write_bytes(content)
    return tmp_path


def test_a_folder_becomes_an_event_that_the_domain_accepts(tmp_path: Path) -> None:
    application = {**APPLICATION, "documents": {"card.pdf": "identity_card"}}
    dossier = read_dossier(folder(tmp_path, application, card=b"%PDF-1", other=b"%PDF-2"))
    sent = opening_event(dossier, source=SOURCE)
    data = Application.model_validate(sent.event["data"])
    assert [(d.name, d.piece, sent.parts[d.part]) for d in data.documents] == [
        ("card.pdf", "identity_card", b"%PDF-1"),
        ("other.pdf", "", b"%PDF-2"),
    ]
    assert data.reference.startswith("F-")


@pytest.mark.parametrize(
    ("application", "says"),
    [
        ('{"procedure": "x",\n "answers": }', "line 2, column 13"),
        ("[]", "not a JSON object"),
        ('{"procedure": "x", "procedure": "y"}', "'procedure' stands twice"),
        ({**APPLICATION, "anwsers": {}}, "'anwsers'"),
        ({k: v for k, v in APPLICATION.items() if k != "parties"}, "lacks parties"),
        ({**APPLICATION, "parties": []}, "not as it should be"),
        ({**APPLICATION, "language": "de"}, "not as it should be"),
        ({**APPLICATION, "documents": ["a.pdf"]}, "not a mapping"),
        ({**APPLICATION, "documents": {"absent.pdf": "deed"}}, "absent.pdf"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_wrong_application_is_refused_with_its_place(tmp_path: Path, application: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_dossier(folder(tmp_path, application))


def test_a_misspelt_key_gets_the_right_one_as_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_dossier(folder(tmp_path, {**APPLICATION, "anwsers": {}}))
    assert caught.value.remedy == "Did you mean 'answers'?"


def test_an_error_in_a_party_names_the_field_and_not_the_person(tmp_path: Path) -> None:
    party = {"role": "applicant", "name": "SECRET NAME", "adress": "SECRET STREET"}
    with pytest.raises(InvalidInput) as caught:
        read_dossier(folder(tmp_path, {**APPLICATION, "parties": [party]}))
    assert "parties/0/adress" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_what_is_no_folder_or_has_no_application_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a folder"):
        read_dossier(tmp_path / "absent")
    with pytest.raises(InvalidInput, match=r"no application\.json"):
        read_dossier(tmp_path)


def test_a_folder_among_the_documents_is_refused_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "documents" / ".DS_Store").write_bytes(b"x")
    assert read_dossier(place).files == ()
    (place / "documents" / "inner").mkdir()
    with pytest.raises(InvalidInput, match="inner cannot be read"):
        read_dossier(place)


def test_the_same_folder_again_is_the_same_event(tmp_path: Path) -> None:
    place = folder(tmp_path, card=b"%PDF-1")
    assert opening_event(read_dossier(place), source=SOURCE) == opening_event(read_dossier(place), source=SOURCE)


_files = st.lists(
    st.builds(File, st.text(min_size=1, max_size=8), st.sampled_from(["", "deed"]), st.binary(max_size=8)), max_size=3
).map(tuple)
_dossiers = st.builds(Dossier, st.fixed_dictionaries({"answers": st.dictionaries(st.text(), st.integers())}), _files)


@given(_dossiers, _dossiers, st.sampled_from(["s1", "s2"]), st.sampled_from(["s1", "s2"]))
def test_an_id_is_the_same_exactly_when_everything_said_is(a: Dossier, b: Dossier, one: str, other: str) -> None:
    first, second = opening_event(a, source=one), opening_event(b, source=other)
    assert (first.event["id"] == second.event["id"]) == (a == b and one == other)


def test_a_reference_of_the_senders_is_kept_and_makes_another_event(tmp_path: Path) -> None:
    place = folder(tmp_path, {**APPLICATION, "reference": "P-7"})
    dossier = read_dossier(place)
    assert opening_event(dossier, source=SOURCE).event["data"]["reference"] == "P-7"
    other = opening_event(dossier, source=SOURCE, reference="P-8")
    assert other.event["data"]["reference"] == "P-8"
    assert other.event["id"] != opening_event(dossier, source=SOURCE).event["id"]


def test_a_follow_up_names_its_case_and_keeps_the_documents_already_named() -> None:
    data = {"note": "here it is", "documents": [{"name": "x.pdf", "ref": "r1"}]}
    sent = follow_up_event(
        "diwan.pieces.supplied", "DW-2026-000001", data, [File("p.pdf", "promise", b"x")], source=SOURCE
    )
    assert sent.event["subject"] == "DW-2026-000001"
    assert sent.event["data"]["documents"] == [
        {"name": "x.pdf", "ref": "r1"},
        {"name": "p.pdf", "part": "document-1", "piece": "promise"},
    ]
