"""Mutations of what the ledger hands out, by seed: none is accepted, and every honest one is.

`python -m tests.ledger.mutations [--count N] [--seed N]` prints how many of each kind were refused, and exits with 1
where one was accepted. `make mutations` runs 100,000.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from diwan.ledger.tree import consistency_proof, root_at
from tests.ledger.mutated import (
    BYTES,
    PROOFS,
    SIZE,
    Growth,
    World,
    accepts_disclosure,
    accepts_growth,
    accepts_note,
    accepts_proof,
    disclosure_mutated,
    entry_mutated,
    growth_mutated,
    same_note,
    same_proof,
    world,
)
from tests.ledger.mutated_bundles import Packed, bundle_mutated, packed, same_bundle


@dataclass
class Outcome:
    refused: Counter[str]
    same: int
    accepted: list[str]


def run(count: int, seed: int) -> Outcome:
    """`count` mutations. Those that changed nothing after all are counted apart."""
    with TemporaryDirectory(prefix="diwan-mutations-") as folder:
        return _run(count, seed, packed(Path(folder)))


def _run(count: int, seed: int, case: Packed) -> Outcome:
    on, dice = world(), random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    outcome = Outcome(Counter(), 0, [])
    note = bytes(on.note)
    honest = {index: bytes(on.log.proof(index, on.note)) for index in range(0, SIZE, 7)}
    assert accepts_note(on, note)
    assert case.found(case.content) is not None
    assert all(accepts_proof(on, content, on.log.entries[index]) for index, content in honest.items())
    for number in range(count):
        index = dice.choice(list(honest))
        entry, content = on.log.entries[index], honest[index]
        if number % 7 == 6:
            kind, changed = bundle_mutated(case, dice)
            kind, same, accepted = f"bundle: {kind}", same_bundle(case, changed), case.found(changed) is not None
        else:
            kind, same, accepted = _one(on, dice, number % 7, index, entry, content, note)
        if same:
            outcome.same += 1
        elif accepted:
            outcome.accepted.append(f"{kind} (number {number}, entry {index})")
        else:
            outcome.refused[kind] += 1
    return outcome


def _one(
    on: World, dice: random.Random, of: int, index: int, entry: bytes, content: bytes, note: bytes
) -> tuple[str, bool, bool]:
    """What was done, whether it is the same after all, whether it was accepted."""
    if of == 0:
        name = dice.choice(list(BYTES))
        changed = BYTES[name](dice, content)
        return f"proof: {name}", same_proof(changed, content), accepts_proof(on, changed, entry)
    if of == 1:
        name = dice.choice(list(BYTES))
        changed = BYTES[name](dice, note)
        return f"checkpoint: {name}", same_note(changed, note), accepts_note(on, changed)
    if of == 2:
        name = dice.choice(list(PROOFS))
        changed = bytes(PROOFS[name](on, dice, index))
        return f"proof: {name}", same_proof(changed, content), accepts_proof(on, changed, entry)
    if of == 3:
        name, changed = entry_mutated(dice, entry)
        return f"entry: {name}", changed == entry, accepts_proof(on, content, changed)
    if of == 4:
        name, was, became = disclosure_mutated(dice)
        return f"fields: {name}", became == was, accepts_disclosure(became)
    name, claim = growth_mutated(on, dice)
    honest = _honest(on, claim)
    return f"growth: {name}", honest, accepts_growth(claim)


def _honest(on: World, claim: Growth) -> bool:
    """Whether a changed claim is true all the same, as a shuffled proof of one hash is."""
    if not 0 < claim.old <= claim.size < SIZE:
        return False
    roots = (root_at(claim.old, on.log.node(claim.old).node), root_at(claim.size, on.log.node(claim.size).node))
    proof = tuple(consistency_proof(claim.old, claim.size, on.log.node(claim.size).node))
    return (claim.old_root, claim.root, claim.proof) == (*roots, proof)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    given = parser.parse_args(arguments)
    outcome = run(given.count, given.seed)
    print(f"seed {given.seed}: {sum(outcome.refused.values())} refused, {outcome.same} changed nothing")
    for kind, count in sorted(outcome.refused.items()):
        print(f"{count:8}  {kind}")
    for each in outcome.accepted:
        print(f"ACCEPTED  {each}")
    return 1 if outcome.accepted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
