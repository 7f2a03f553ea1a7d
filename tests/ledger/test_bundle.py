"""Bundles: packed by the service's code, verified by a program that shares none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from diwan.ledger.bundle import PlacedEntry, pack
from diwan.standalone import verify_bundle
from diwan.standalone.verify_bundle import Failed, told_of, verify
from tests.ledger.bundles import ENTRIES, HASH, LOG, TOLD, Saved, bundle, chain
from tests.support.strategies import json_of


def test_a_bundle_holds_and_says_what_it_holds(saved: Saved, policy: Path) -> None:
    content = pack(bundle())
    assert content == pack(bundle())
    found = verify(saved(content), policy)
    assert (found.tenant, found.case, found.number) == ("demo", "c1", "DW-2026-000001")
    assert (found.entries, found.disclosed, found.withheld) == (ENTRIES, ENTRIES - 1, [])
    assert found.kept_back == ["8/granted", "8/nested/b", "8:state_after"]
    assert (found.closed_by, found.after_closing, found.histories_missing) == (ENTRIES - 1, ["case:history:kept"], [])
    assert (found.logs, found.procedures) == ({LOG.key.name: len(LOG.entries)}, [HASH])
    assert (found.first_at, found.last_at) == ("2026-11-27T09:00:01.000000Z", f"2026-11-27T09:00:{ENTRIES:02d}.000000Z")


def test_what_is_withheld_is_named_and_everything_else_holds(saved: Saved, policy: Path) -> None:
    whole = bundle()
    entries = [e if n != 4 else PlacedEntry(e.header, e.shard, e.index, e.hashes) for n, e in enumerate(whole.entries)]
    found = verify(saved(pack(bundle(entries=entries))), policy)
    assert (found.disclosed, found.withheld) == (ENTRIES - 2, [5])


def test_a_history_that_is_withheld_is_named_by_its_entry(saved: Saved, policy: Path) -> None:
    assert verify(saved(pack(bundle(histories={}))), policy).histories_missing == [ENTRIES]


@pytest.mark.parametrize(
    ("last", "closed_by"),
    [
        ({}, 0),
        ({4: {"detail": {"closes": True, "entries": 3}}}, None),
        ({n: {"detail": {"closes": True, "entries": n}} for n in (4, 5)}, None),
    ],
)
def test_a_case_is_closed_once_by_an_entry_that_counts_those_before_it(
    last: Mapping[int, Mapping[str, object]], closed_by: int | None
) -> None:
    headers = [header for header, _ in chain(last)]
    if closed_by is not None:
        assert told_of({}, headers) == ([], closed_by, [])
        return
    with pytest.raises(Failed) as caught:
        told_of({}, headers)
    assert caught.value.code == "entry.closing_differs"


def test_the_program_runs_by_itself_with_nothing_of_ours(saved: Saved, policy: Path, tmp_path: Path) -> None:
    program = tmp_path / "elsewhere" / "verify_bundle.py"
    program.parent.mkdir()
    program.write_bytes(Path(verify_bundle.__file__).read_bytes())
    assert b"import diwan" not in program.read_bytes()
    assert b"from diwan" not in program.read_bytes()
    assert len([line for line in program.read_bytes().splitlines() if line.strip()]) <= 500
    command = [sys.executable, str(program), str(saved(pack(bundle()))), str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=program.parent, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"holds: entries 1 to {ENTRIES} of case c1 of demo" in done.stdout
    assert f"not checked: story.html; that the case has the number {TOLD['number']}" in done.stdout
    assert f"that nothing follows entry {ENTRIES}" in done.stdout
    assert "8 disclosed, withheld: 8/granted, 8/nested/b, 8:state_after\n" in done.stdout
    spoilt = saved(pack(bundle(told=TOLD | {"case": "c2"})))
    done = subprocess.run(
        [*command[:2], str(spoilt), str(policy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "DOES NOT HOLD" in done.stderr


numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@given(json_of(numbers | texts, texts))
@example([0.0, -0.0, 1e20, 1e21, 123456789012345670000.0, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, -0.1, 25.5])
def test_the_program_writes_canonical_json_as_a_library_does(value: object) -> None:
    written = rfc8785.dumps({"value": value})  # pyright: ignore[reportArgumentType]
    spaced = written.replace(b'{"value":', b'{ "value" : ', 1)
    assert verify_bundle.canonical(verify_bundle.said(spaced, "a value")) == written


@pytest.mark.parametrize(
    "spelled", ["1.0", "25.50", "1e2", "1E+21", "0.1e1", "-0.0", "1e400", "1e-7000", "9007199254740992"]
)
def test_a_fraction_is_hashed_as_it_is_spelled(spelled: str) -> None:
    content = f'{{"value":{spelled}}}'.encode()
    assert verify_bundle.canonical(verify_bundle.said(content, "a value")) == content


@pytest.mark.parametrize("spelled", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json_is_not_read(spelled: str) -> None:
    with pytest.raises(Failed):
        verify_bundle.said(f'{{"value":{spelled}}}'.encode(), "a value")
