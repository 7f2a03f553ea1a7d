"""The arithmetic of the ledger's bench: what is compared with what, and what is said of sizes not measured."""

from __future__ import annotations

from bench.ledger import results
from bench.ledger.case import Bundled
from bench.ledger.changes import LEDGER, SIDES, Rates
from bench.ledger.growth import Grown


def rates(clients: int, entry: list[float], audit: list[float]) -> Rates:
    made = Rates(clients)
    for side in SIDES:
        made.rates[side] = list(entry if side == LEDGER else audit)
        made.ms[side] = [2.0 if side == LEDGER else 1.5]
        made.cpu_ms[side] = [1.0] * len(entry)
        made.postgres_ms[side] = [1.5 if side == LEDGER else 1.0] * len(entry)
    return made


def found(entry: list[float], audit: list[float]) -> results.Found:
    grown = Grown(1_000_000, 25_000, 3, 2, 4, 260, 1_500, 150_000, 40_000, 12_000, 50_000)
    return results.Found([rates(1, entry, audit), rates(32, entry, audit)], [grown], Bundled(204, 90_000, 0.8, 0.6))


def test_rounds_are_compared_with_their_neighbours() -> None:
    """In the second turn the machine is half as fast: medians of each side apart would say 0.5."""
    (gate, *_) = results.verdicts(found([900, 450, 500], [1_000, 500, 1_000]))
    assert gate.found == "0.90 (0.50 to 0.90)"
    assert gate.holds
    assert gate.gate


def test_a_ledger_that_costs_too_much_fails_its_gate() -> None:
    (gate, *others) = results.verdicts(found([700.0], [1_000.0]))
    assert not gate.holds
    assert gate.what.endswith("32 clients")
    assert [other.holds for other in others] == [True, True, True, True]


def test_ten_million_entries_are_said_by_arithmetic() -> None:
    found_ = found([900.0], [1_000.0])
    told = results.section("quick", "", found_, results.verdicts(found_))
    assert "39,217 tiles (39,063, 153, 1 by level)" in told
    assert "306 MiB of hashes" in told
    assert f"adds {2.0 - 1.5:.2f} ms" in told
    assert "the audit table's over the entry's is 0.80" in told
