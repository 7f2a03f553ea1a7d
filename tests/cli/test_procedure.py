"""`diwan procedure`: files offline, with the real procedure language; publishing against a fake service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from diwan.procedures.examples import example_names, example_text
from tests.cli.conftest import Diwan
from tests.cli.fake_service import Answer, FakeService, problem

NAME = "direct-housing-aid"
SHOWN = (
    *("--fact", "national=oui", "--fact", "owns_dwelling=no", "--fact", "earlier_aid=لا", "--fact", "rooms=3"),
    *("--fact", "first_sale=true", "--fact", "permit_date=2024-05-01", "--fact", "identity_number=ZZ1234"),
)


@pytest.fixture(autouse=True)
def offline(fake: FakeService) -> None:
    """Only publish and list may ask the service: a test that asks it otherwise gets a 404."""


@pytest.mark.parametrize("name", example_names())
def test_shipped_procedures_lint_clean(name: str, diwan: Diwan) -> None:
    done = diwan("procedure", "lint", name, "--strict", "--output", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])


def test_lint_names_the_line_and_fails(diwan: Diwan, tmp_path: Path) -> None:
    text = example_text(NAME).replace("price <= 700000", "price <= 'much'")
    line = text.splitlines().index("    when: price <= 'much'") + 1
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    done = diwan("procedure", "lint", str(tmp_path / "p.yaml"), "--output", "json")
    assert done.exit_code == 1
    assert [(finding["level"], finding["line"]) for finding in json.loads(done.stdout)] == [("error", line)]
    assert str(line) in diwan("procedure", "lint", str(tmp_path / "p.yaml")).stdout


def test_schema_prints_a_json_schema_unless_told_otherwise(diwan: Diwan) -> None:
    schema = json.loads(diwan("procedure", "schema", NAME).stdout)
    Draft202012Validator.check_schema(schema)
    assert "price" in schema["properties"]
    assert "price" in diwan("procedure", "schema", NAME, "--output", "table").stdout


def test_show_is_in_the_language_asked_for(diwan: Diwan) -> None:
    assert "\u2068الدعم المباشر للسكن\u2069" in diwan("procedure", "show", NAME, "--language", "ar").stdout
    assert "Direct housing aid" in diwan("procedure", "show", NAME).stdout


def test_diff_says_what_changed(diwan: Diwan, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(
        example_text(NAME).replace("price <= 700000", "price <= 650000"), encoding="utf-8"
    )
    done = diwan("procedure", "diff", NAME, str(tmp_path / "new.yaml"), "--output", "json")
    (change,) = json.loads(done.stdout)
    assert (change["path"], change["after"], change["affects_running"]) == (
        "rules.price_within_ceiling.when",
        "price <= 650000",
        True,
    )
    assert diwan("procedure", "diff", NAME, NAME).stdout == "No difference.\n"


def test_simulate_plays_a_case_to_its_result(diwan: Diwan) -> None:
    done = diwan(
        "procedure", "simulate", NAME, *SHOWN, "--fact", "price=280 000 DH", "--on", "2026-11-23", "--output", "json"
    )
    assert done.exit_code == 0, done.stderr
    story = json.loads(done.stdout)
    assert [step["step"] for step in story] == ["receipt", "examine", "review", "sign", "decide", "closed"]
    assert (story[-1]["result"], story[-1]["assessment"]["amount"]) == ("granted", 100000)
    assert {step["on"] for step in story} == {"2026-11-23"}


def test_simulate_takes_pieces_outcomes_and_a_dossier(diwan: Diwan, tmp_path: Path) -> None:
    answers = {"identity_number": "ZZ1234", "household": 3, "residence": "Rabat", "price": 400000, "rooms": 3}
    answers |= {"permit_date": "2024-05-01", "notary": "Me Exemple", "bank_account": "0" * 24}
    application = {"procedure": NAME, "parties": [{"role": "applicant", "name": "X"}], "answers": answers}
    application["documents"] = {"card.pdf": "identity_card"}
    (tmp_path / "application.json").write_text(json.dumps(application))
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents/card.pdf").write_bytes(b"x")
    arguments = ("procedure", "simulate", NAME, "--dossier", str(tmp_path), *SHOWN, "--outcome", "review=returned")
    steps = [step["step"] for step in json.loads(diwan(*arguments, "--output", "json").stdout)]
    assert steps[2:7] == ["request_review", "request_letter", "await_pieces", "examine", "review"]
    assert steps.count("review") == 2
    *_, last, kept = diwan(*arguments).stdout.splitlines()
    assert "granted" in last
    assert kept.startswith("Kept until: decision ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--fact", "colour=red"), "No such fact: colour"),
        (("--fact", "price=much"), "not a value"),
        (("--fact", "price"), "NAME=VALUE"),
        (("--piece", "hat"), "No such piece: hat"),
        (("--outcome", "nap=done"), "No such step: nap"),
        (("--outcome", "review=done"), "cannot end with"),
        (("--fact", "price=1"), "cannot say how this case ends"),
    ],
)
def test_simulate_refuses_what_the_procedure_does_not_know(diwan: Diwan, arguments: tuple[str, ...], says: str) -> None:
    done = diwan("procedure", "simulate", NAME, *arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_what_lint_refuses_is_not_played(diwan: Diwan, tmp_path: Path) -> None:
    """On paper it would be decided a second time, which no case can be."""
    again = "  again:\n    kind: act\n    letter: decision\n    label: {ar: مرة أخرى, fr: Encore, en: Again}\n"
    text = example_text(NAME).replace("      - {to: closed}\n  withdrawal:", "      - {to: again}\n  withdrawal:")
    text = text.replace("  withdrawal:\n", f"{again}    next:\n      - {{to: closed}}\n  withdrawal:\n", 1)
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    done = diwan("procedure", "simulate", str(tmp_path / "p.yaml"), *SHOWN, "--fact", "price=280000")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "decide → again" in done.stderr
    assert diwan("procedure", "lint", str(tmp_path / "p.yaml")).exit_code == 1


def test_a_name_that_is_neither_file_nor_shipped_exits_3_and_lists_what_is(diwan: Diwan) -> None:
    done = diwan("procedure", "show", "absent.yaml")
    assert done.exit_code == 3
    assert NAME in done.stderr


def test_publish_sends_the_file_as_it_is(diwan: Diwan, fake: FakeService) -> None:
    made = {"name": NAME, "version": "1.0", "hash": "ab", "published_at": "2026-11-23T09:00:00Z", "published_by": "a"}
    fake.answers["POST /v1/procedures"] = Answer(201, made | {"body": "…"})
    done = diwan("procedure", "publish", NAME)
    assert done.exit_code == 0, done.stderr
    assert fake.asked[0].body.decode() == example_text(NAME)
    assert fake.asked[0].headers["content-type"] == "application/yaml"


def test_publish_checks_first_and_passes_a_conflict_on(diwan: Diwan, fake: FakeService, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\n")
    assert diwan("procedure", "publish", str(tmp_path / "bad.yaml")).exit_code == 2
    assert fake.asked == []
    fake.answers["POST /v1/procedures"] = problem(409, "procedure.version_taken", "Published otherwise.", "Raise it.")
    assert diwan("procedure", "publish", NAME).exit_code == 5


def test_list_shows_what_is_published(diwan: Diwan, fake: FakeService) -> None:
    item = {"name": NAME, "version": "1.0", "hash": "ab", "published_at": "2026-11-23T09:00:00Z", "published_by": "a"}
    fake.answers["GET /v1/procedures"] = Answer(200, {"items": [item], "next": None})
    assert "2026-11-23 09:00Z" in diwan("procedure", "list").stdout
