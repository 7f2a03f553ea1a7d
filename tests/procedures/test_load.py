"""A procedure file is read without surprises, and what is wrong with it is said by line and field."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diwan.domain.errors import DiwanError, InvalidInput, TooLarge
from diwan.procedures.flow import open_case
from diwan.procedures.load import hash_of, load_procedure
from diwan.procedures.yaml_source import read
from tests.procedures.support import NOW, office, sample, text

AWAITED = "    end: [{leave: await_pieces}]\n"


def line_of(yaml: str, needle: str) -> int:
    return yaml[: yaml.index(needle)].count("\n") + 1


def refused(yaml: str) -> str:
    with pytest.raises(InvalidInput) as error:
        load_procedure(yaml)
    return error.value.message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("nature: target", "nature: tarjet", "`nature`"),
        ("currency: MAD", "currency: MAD\ncolour: blue", "`colour` is not known here"),
        ("series: DW\n", "", "`series` is missing"),
        ("kind: wait\n", "kind: pause\n", "kind"),
        ("when: rooms >= 2", "when: rooms >= '2'", "rules.enough_rooms.when"),
        ("when: rooms >= 2", "when: roms >= 2", "undeclared reference"),
        ("to: await_pieces", "to: await_piece", "`await_piece` is not among the steps"),
        ("form: price\n", "form: prize\n", "`prize` is not among the form fields"),
        ("pieces: [non_ownership_certificate]", "pieces: [certificate]", "`certificate` is not among the pieces"),
        ("start: receipt", "start: closed", "cannot start at its end"),
        ("{to: closed, result: withdrawn}", "{to: closed}", "end without a result"),
        ("country: MA", "country: XX", "not known"),
        ("time_zone: Africa/Casablanca", "time_zone: Africa/Nowhere", "No such time zone"),
        ("    on_expiry: closed\n", "", "Nothing follows"),
        ("    suspend: [{leave: request_letter}]\n", "", "suspended has to resume"),
        ("pattern: ^[A-Za-z]{1,3}[ -]?[0-9]{3,8}$", "pattern: '('", "RE2"),
        ("{price} DH, dépasse", "{prix} DH, dépasse", "do not name the same facts"),
        ("{price} DH, dépasse", "{price DH, dépasse", "brace stands alone"),
        ("  aid_of_70000:\n", "  price_within_ceiling:\n", "A rule has this name"),
        ("- {to: await_pieces}", "- {on: [done, signed], to: await_pieces}", "`signed` cannot happen here"),
        ("- {on: approved, to: decide}\n      - {to: review}", "- {on: approved, to: decide}", "no way on"),
        ("    when: price <= 300000\n", "", "never reached"),
        ("calendar:\n  country: MA", "calendar: no\nx:\n  country: MA", "calendar"),
        ("form: price\n", "form: notary\n", "The form gives text here"),
        ("  price:\n    type: integer\n", "  price:\n    type: integer\n    pattern: x\n", "Only a text has a pattern"),
        ("    minimum: 1\n    maximum: 30\n", "    minimum: 40\n    maximum: 30\n", "`minimum` is above"),
        ("  household:\n    type: integer", "  household:\n    type: choice", "belong to type choice"),
        ("    source:\n      registry: registry.earlier_aid", "    source: {}", "comes from nowhere"),
        ("    source:\n      registry", "    must_agree: true\n    source:\n      registry", "both declared and shown"),
        ("  national:\n    type: boolean", "  in:\n    type: boolean", "CEL keeps this word"),
        ("    to: examine\n    at:", "    to: request_letter\n    at:", "cannot send the request"),
        ("    roll: none\n", "    roll: none\n    on_expiry: review\n", "A target has no effect"),
        ("      - {to: closed}\n", "      - {to: closed, result: granted}\n", "The decision gives the result"),
        ("      result: implied_refusal\n", "", "end without a result"),
        (AWAITED, "    suspend: [{enter: sign}]\n    resume: [{leave: sign}]\n", "stand still"),
        ("[{leave: request_letter}]", "[{leave: request_letter, enter: review}]", "exactly one"),
        ("must_agree: true\n    label:\n      ar: رقم", "must_agree: maybe\n    label:\n      ar: رقم", "must_agree"),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_line(old: str, new: str, says: str) -> None:
    message = refused(text((old, new)))
    assert says in message
    assert "line " in message


def test_the_line_is_the_right_one() -> None:
    yaml = text(("when: rooms >= 2", "when: rooms >= '2'"))
    line = line_of(yaml, "rooms >= '2'")
    assert f"line {line}, rules.enough_rooms.when" in refused(yaml)


def test_every_problem_is_said_at_once() -> None:
    message = refused(text(("when: rooms >= 2", "when: rooms >= '2'"), ("when: first_sale", "when: first_sail")))
    assert "rules.enough_rooms" in message
    assert "rules.first_sale" in message


def test_a_round_without_people_is_refused() -> None:
    yaml = text(
        ("- {to: await_pieces}", "- {to: examine}"),
        (
            "pieces_requested == 0, to: request_review}\n      - {to: review}",
            "visit < 9, to: request_letter}\n      - {to: review}",
        ),
    )
    assert "round here for ever" in refused(yaml)


def test_a_step_without_way_to_an_end_is_refused() -> None:
    yaml = text(("- {on: approved, to: decide}\n      - {to: review}", "- {to: sign}"))
    assert "No way leads from here to an end" in refused(yaml)


def test_a_case_cannot_fall_into_the_request_for_pieces_unasked() -> None:
    yaml = text(
        (
            "{on: approved, when: missing > 0 || unreadable > 0, to: request_letter}",
            "{on: approved, to: request_letter}",
        ),
        ("- {on: returned, to: examine}\n      - {to: review}", "- {on: [edited, rejected, returned], to: examine}"),
    )
    assert "Outcome `approved` may find no way on" in refused(yaml)


def test_a_wait_cannot_ask_for_what_only_an_assessment_knows() -> None:
    way = "      - {to: examine}\n  review:"
    yaml = text((way, "      - {when: missing > 0, to: examine}\n" + way))
    assert "undeclared reference to 'missing'" in refused(yaml)


# --- YAML -----------------------------------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("a: 1\nb: *a\n", "line 2: anchors and aliases"),
        (LAUGHS, "line 1: anchors and aliases"),
        ("a: 1\nb: !!python/object:os.system x\n", "line 2: tags"),
        ("a: 1\nb: !x y\n", "line 2: tags"),
        ("a: 1\na: 2\n", "line 2: `a` stands here for the second time"),
        ("a: 1\nb: [\n", "line 3: not valid YAML"),
        ("a: 1\nb: 'x\n", "not valid YAML"),
        ("a: 1\nb: \x00\n", "line 2: a character"),
        ("---\na: 1\n---\nb: 2\n", "not valid YAML"),
        ("a:\n" + "[" * 100, "nested too deeply"),
        ("a: " + "[x, " * 20_000, "nested too deeply"),
        ("a: [" + "x, " * 60_000 + "]", "too many values"),
        ("a:\n  ? [b]\n  : c\n", "line 2: a key has to be a word"),
        ("\n\na: " + "9" * 5_000, "line 3: `a` is too large a number"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(yaml: str, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read(yaml)
    assert says in error.value.message


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        load_procedure("a: " + "x" * 600_000)


@pytest.mark.parametrize("yaml", ["", "x", "- a\n- b\n", "# nothing\n", "a: {}", "schema: diwan.procedure/2\n"])
def test_what_is_no_procedure_is_refused(yaml: str) -> None:
    assert "cannot be used" in refused(yaml)


def test_words_stay_words() -> None:
    data, lines = read("on: no\ncountry: NO\nday: 2023-01-01\nversion: 1.10\ntrue_one: true\nn: 12\nnothing:\n")
    assert data == {
        "on": "no",
        "country": "NO",
        "day": "2023-01-01",
        "version": "1.10",
        "true_one": True,
        "n": 12,
        "nothing": None,
    }
    assert lines[("day",)] == 3


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_whatever_is_typed_gives_an_error_of_ours(junk: str) -> None:
    with pytest.raises(DiwanError):
        load_procedure(junk)


@given(st.integers(0, 20_000), st.integers(1, 400))
@settings(max_examples=25, deadline=None)
def test_a_file_with_a_hole_loads_or_is_refused_by_us(start: int, length: int) -> None:
    whole = text()
    holed = whole[:start] + whole[start + length :]
    refusal = None
    try:
        loaded = load_procedure(holed)
        assert open_case(loaded, NOW, office()).state.step == loaded.start
    except InvalidInput as error:  # any other error is a failure
        refusal = error
    assert refusal is None or refusal.message.startswith(("line ", "The procedure cannot be used"))


# --- what is read ---------------------------------------------------------------------------------------------------


def test_the_sample_loads_in_the_order_of_its_file() -> None:
    procedure = sample()
    assert next(iter(procedure.rules)) == "national"
    assert procedure.required_pieces == [
        "identity_card",
        "sale_promise",
        "habitation_permit",
        "non_ownership_certificate",
    ]
    assert procedure.facts_of_piece("habitation_permit") == ["rooms", "permit_date"]


def test_the_hash_is_of_the_bytes() -> None:
    assert hash_of("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert hash_of("a\n") != hash_of("a")
