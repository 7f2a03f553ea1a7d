"""What reaches a terminal: applicants' text cannot drive it, Arabic does not reorder a table, JSON stays JSON."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from diwan.cli.output import Column, Output, cell, emit, isolated, plain, record, table

NAME = "أمينة المثال"
ISOLATED = f"\u2068{NAME}\u2069"


def rendered(picture: object, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, markup=False).print(picture)
    return stream.getvalue()


@given(st.text())
def test_plain_text_has_no_control_and_no_bidi_control_characters(text: str) -> None:
    assert not set(plain(text)) & {
        *map(chr, range(32)),
        "\x7f",
        *map(chr, range(0x80, 0xA0)),
        *"\u202e\u2066\u2069\u200f",
    }


def test_a_name_cannot_drive_the_terminal_or_turn_the_line_around() -> None:
    assert plain("A\x1b[2J\u202eB\x9b31m") == "A[2JB31m"


def test_right_to_left_text_is_isolated_and_other_text_is_left_alone() -> None:
    assert isolated(NAME) == ISOLATED
    assert isolated("DW-2026-000001") == "DW-2026-000001"
    assert isolated(f"{NAME}\u2069x") == f"\u2068{NAME}x\u2069"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        (True, "yes"),
        (100000, "100\u202f000"),
        (["a", "b"], "a, b"),
        ({"a": 1}, "a: 1"),
        ("[bold]x", "[bold]x"),
    ],
)
def test_values_as_cells(value: object, text: str) -> None:
    assert cell(value).plain == text


def test_a_wide_table_keeps_its_columns_and_a_narrow_one_becomes_blocks() -> None:
    columns = (Column("Number", "number"), Column("Name", "name"), Column("Amount", "amount", right=True))
    rows = [{"number": "DW-2026-000001", "name": NAME, "amount": 100000}]
    wide = rendered(table(columns, rows, width=80), 80)
    assert any("DW-2026-000001" in line and ISOLATED in line and "100\u202f000" in line for line in wide.splitlines())
    narrow = rendered(table(columns, rows, width=30), 30)
    assert all(len(line.rstrip("\n")) <= 32 for line in narrow.splitlines())
    assert "Amount" in narrow
    assert "100\u202f000" in narrow


def test_nothing_of_a_long_value_is_cut_away_on_a_narrow_terminal() -> None:
    value = "0123456789" * 6
    assert value in rendered(record([("id", value)]), 40).replace("\n", "").replace(" ", "").replace("id", "")


def test_json_output_is_json_with_its_arabic_readable(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Output.JSON, {"name": NAME}, lambda width: "")
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": NAME}
    assert NAME in out
