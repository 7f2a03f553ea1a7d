"""What the bench of the ledger found, as a section of RESULTS.md, and the verdicts it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from bench import report
from bench.ledger.case import STEPS, Bundled
from bench.ledger.changes import AUDIT, LEDGER, NEITHER, SEQUENCED, SIDES, Rates
from bench.ledger.growth import Grown
from bench.report import Verdict

RATE_GATE = 0.8
_TEN_MILLION = 10**7
_WIDTH, _HASH = 256, 32  # of a tile


@dataclass(frozen=True)
class Found:
    changes: Sequence[Rates]
    grown: Sequence[Grown]
    bundled: Bundled


def verdicts(found: Found) -> list[Verdict]:
    """The gates are ratios of one run; the others are goals."""
    judged = [
        Verdict(
            f"changes/s with entry over audit table, {rates.clients} clients",
            _spread(rates.ratios(LEDGER)),
            f"{RATE_GATE} or more",
            median(rates.ratios(LEDGER)) >= RATE_GATE,
        )
        for rates in found.changes
        if rates.clients > 1
    ]
    largest = found.grown[-1]
    bundled = found.bundled
    judged += [
        _goal("entries placed a second, tiles stored", largest.placed, 20_000),
        _goal("hashes and links checked a second, all cores", largest.hashes, 100_000),
        Verdict(
            f"bundle of a case of {STEPS} steps made, s",
            f"{bundled.made_s:.2f}",
            "2 or less",
            bundled.made_s <= 2,
            gate=False,
        ),
        Verdict("the same verified, s", f"{bundled.verified_s:.2f}", "1 or less", bundled.verified_s <= 1, gate=False),
    ]
    return judged


def _goal(what: str, found: float, wanted: float) -> Verdict:
    return Verdict(what, f"{found:,.0f}", f"{wanted:,.0f} or more", found >= wanted, gate=False)


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def section(name: str, versions: str, found: Found, judged: Sequence[Verdict]) -> str:
    command = "make bench-ledger" + ("-quick" if name == "quick" else "")
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return "\n\n".join(
        [
            f"## The ledger, {when} UTC",
            f"Commit {report.commit()}. {report.machine()}. {versions} No randomness but ids and nonces: no seed. "
            f"Command: `{command}`.",
            report.verdicts_table(judged),
            *_changes(found.changes),
            *_growth(found.grown),
        ]
    )


def _changes(changes: Sequence[Rates]) -> list[str]:
    rows = [
        [
            str(rates.clients),
            *(f"{rates.rate(side):.0f}" for side in SIDES),
            *(_spread(rates.ratios(side, other)) for side, other in _RATIOS),
        ]
        for rates in changes
    ]
    heads = ["clients", *(f"{side}, /s" for side in SIDES), *(f"{side} over {other}" for side, other in _RATIOS)]
    alone = next(rates for rates in changes if rates.clients == 1)
    busiest = changes[-1]
    cpu = ", ".join(
        f"{side} {median(busiest.cpu_ms[side]):.2f} and {median(busiest.postgres_ms[side]):.2f}" for side in SIDES
    )
    return [
        "### A change of a case: its row locked and moved, a fact added",
        report.table(heads, rows),
        f"Ratios are medians of neighbouring rounds. Alone, a change takes {alone.middle_ms(LEDGER):.2f} ms with its "
        f"entry, {alone.middle_ms(AUDIT):.2f} ms with an audit table, {alone.middle_ms(NEITHER):.2f} ms with neither: "
        f"the entry adds {alone.middle_ms(LEDGER) - alone.middle_ms(NEITHER):.2f} ms, the audit table "
        f"{alone.middle_ms(AUDIT) - alone.middle_ms(NEITHER):.2f} ms. CPU ms a change, of the clients' processes and "
        f"of Postgres, {busiest.clients} clients: {cpu} (connecting and a moment's warming up are in Postgres's); by "
        f"that alone the audit table's over the entry's is {_spread(busiest.cpu_ratios(LEDGER))}.",
    ]


_RATIOS = ((LEDGER, AUDIT), (LEDGER, NEITHER), (SEQUENCED, AUDIT))


def _growth(grown: Sequence[Grown]) -> list[str]:
    measures = [
        ("placed a second, tiles stored", "{0.placed:,.0f}"),
        ("a pass that places one entry, ms", "{0.one_more_ms:.1f}"),
        ("a checkpoint, with its consistency proof, ms", "{0.checkpoint_ms:.1f}"),
        ("proof of an entry, ms", "{0.proof_ms:.1f}"),
        ("bytes of the tree an entry, indexes included", "{0.tree_bytes:.0f}"),
        ("bytes of the entry itself, indexes included", "{0.entry_bytes:.0f}"),
        ("hashes and links checked a second, all cores", "{0.hashes:,.0f}"),
        ("canonical forms checked a second, all cores", "{0.canonical:,.0f}"),
        ("`diwan ledger verify`, entries a second, one core", "{0.verify:,.0f}"),
        ("the same, leaves and tiles a second", "{0.verify_tree:,.0f}"),
    ]
    rows = [[what, *(form.format(each) for each in grown)] for what, form in measures]
    heads = ["", *(f"{each.size:,} entries" for each in grown)]
    largest = grown[-1]
    levels, hashes = list[int](), _TEN_MILLION
    while hashes > 1:
        hashes = -(-hashes // _WIDTH)
        levels.append(hashes)
    bytes_ = sum(_TEN_MILLION // _WIDTH**level * _HASH for level in range(len(levels)))
    return [
        "### The tree, and what checking it takes",
        report.table(heads, rows),
        f"By arithmetic, 10,000,000 entries are {sum(levels):,} tiles ({', '.join(f'{each:,}' for each in levels)} by "
        f"level), {bytes_ / 2**20:.0f} MiB of hashes; at {largest.tree_bytes:.0f} bytes an entry, leaves and indexes "
        f"included, {largest.tree_bytes * _TEN_MILLION / 2**30:.1f} GiB beside "
        f"{largest.entry_bytes * _TEN_MILLION / 2**30:.1f} GiB of entries. A proof reads {len(levels)} tiles there, "
        f"one at 256 entries; {_TEN_MILLION / largest.verify / 60:.0f} minutes to verify on one core.",
    ]
