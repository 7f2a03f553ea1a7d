"""Bundles that were changed: byte by byte, and with care, so that the list of files is right and the files are not.

What is left out on purpose says less and is named as withheld (a body, a history, the last entries): no harm, and no
kind here. Nor is what the program says it does not check: story.html, and what the cover says beside the case.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diwan.ledger.bundle import Grown, pack
from diwan.ledger.entry import canonical
from diwan.ledger.note import new_key
from diwan.ledger.tree import consistency_proof
from diwan.standalone import verify_bundle
from diwan.standalone.verify_bundle import Failed, Verified, verify
from tests.ledger.bundles import ENTRIES, LAST, LOG, SEEN_BY, bundle, chain
from tests.ledger.logs import MemoryLog, cosigned
from tests.ledger.mutated import BYTES, entry_mutated, same_note

Files = dict[str, bytes]
KEPT = 7  # the size of the log when the auditor kept its checkpoint
NOTE, GROWN, PLACED = "checkpoints/2026.note", "grown/2026.json", "places.json"
_UNCHECKED = ("story.html", "verify_bundle.py")


@dataclass(frozen=True)
class Packed:
    """A bundle that holds, with growth from a kept checkpoint, and whom its reader trusts."""

    folder: Path
    content: bytes
    files: Mapping[str, bytes]

    def found(self, content: bytes) -> Verified | None:
        """What the program finds to hold; None where it refuses."""
        path = self.folder / "bundle.zip"
        path.write_bytes(content)
        try:
            return verify(path, self.folder / "policy", [self.folder / "kept"])
        except Failed:
            return None


def packed(folder: Path) -> Packed:
    lines = (f"log {LOG.key.verifier}", f"witness court {SEEN_BY.verifier}", "quorum court", "")
    (folder / "policy").write_text("\n".join(lines))
    (folder / "kept").write_bytes(bytes(LOG.checkpoint(KEPT)))
    hashes = consistency_proof(KEPT, len(LOG.entries), LOG.node(len(LOG.entries)).node)
    content = pack(bundle(grown={"2026": Grown(bytes(LOG.checkpoint(KEPT)), tuple(hashes))}))
    return Packed(folder, content, _unpacked(content))


def _unpacked(content: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def same_bundle(on: Packed, content: bytes) -> bool:
    """Whether it says the same of the case: a zip has bytes that say nothing, JSON has spaces."""
    try:
        files = _unpacked(content)
        return files.keys() == on.files.keys() and all(_same(name, files[name], on.files[name]) for name in files)
    except Exception:  # a zip that was made to break its reader raises whatever it likes
        return False


def _same(name: str, content: bytes, honest: bytes) -> bool:
    if content == honest or name in _UNCHECKED:
        return True
    if name == "bundle.json":
        said, was = json.loads(content), json.loads(honest)
        return [said[each] for each in TOLD if each != "files"] == [was[each] for each in TOLD if each != "files"]
    if name == NOTE:
        return same_note(content, honest)
    if name.startswith("bodies/") or name in (PLACED, GROWN):
        return verify_bundle.said(content, name) == verify_bundle.said(honest, name)
    return False


def repacked(on: Packed, files: Files, told: Mapping[str, Any]) -> bytes:
    """With a cover that lists what is there, but for what `told` has it say."""
    cover = json.loads(on.files["bundle.json"])
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as into:
        into.writestr("bundle.json", json.dumps({**cover, "files": listed, **told}))
        for name, content in files.items():
            into.writestr(name, content)
    return made.getvalue()


def _any(dice: random.Random, files: Mapping[str, bytes], folder: str = "") -> str:
    return dice.choice(sorted(name for name in files if name.startswith(folder) and name not in _UNCHECKED))


def _bytes(dice: random.Random, files: Files) -> None:
    name = _any(dice, files)
    files[name] = BYTES[dice.choice(sorted(BYTES))](dice, files[name])


def _exchanged(dice: random.Random, files: Files) -> None:
    folder = dice.choice(("entries/", "bodies/"))
    one, two = _any(dice, files, folder), _any(dice, files, folder)
    files[one], files[two] = files[two], files[one]


def _moved_up(dice: random.Random, files: Files) -> None:
    """An entry gone, and those after it under its number: whoever counts finds none missing."""
    first = dice.randrange(1, ENTRIES)
    for number in range(first, ENTRIES):
        files[f"entries/{number:06d}.json"] = files[f"entries/{number + 1:06d}.json"]
    del files[f"entries/{ENTRIES:06d}.json"]


def _another_entry(dice: random.Random, files: Files) -> None:
    name = _any(dice, files, "entries/")
    files[name] = entry_mutated(dice, files[name])[1]


# Another case of the same number, as like it as can be: what differs are its salts.
_OTHERS = [header for header, _ in chain(LAST)]


def _spliced(dice: random.Random, files: Files) -> None:
    """Entries of another case, from some number on, that link to each other as they should."""
    first = dice.randrange(ENTRIES)
    for number in range(first, ENTRIES):
        files[f"entries/{number + 1:06d}.json"] = _OTHERS[number]


def _another_place(dice: random.Random, files: Files) -> None:
    places = json.loads(files[PLACED])
    one, other = dice.sample(sorted(places), 2)
    what = dice.choice(("index", "hashes", "checkpoint", "place", "order", "less", "more", "past"))
    if what == "place":
        places[one] = places[other]
    elif what == "past":
        places[one]["index"] += dice.choice((-1, 1, len(LOG.entries), -len(LOG.entries), 2**40))
    elif what == "order":
        dice.shuffle(places[one]["hashes"])
    elif what == "less":
        places[one]["hashes"].pop(dice.randrange(len(places[one]["hashes"])))
    elif what == "more":
        places[one]["hashes"].insert(0, dice.choice(places[other]["hashes"]))
    elif what == "checkpoint":
        places[one]["checkpoint"] = dice.choice(("checkpoints/2025.note", "", None, GROWN))
    else:
        places[one][what] = places[other][what]
    files[PLACED] = canonical(places)


def _another_checkpoint(dice: random.Random, files: Files) -> None:
    """By a key of the same name, of another size, of fewer witnesses, or with a line twice."""
    ours, seen_smaller = cosigned(LOG.checkpoint(), SEEN_BY), cosigned(LOG.checkpoint(3), SEEN_BY)
    rewritten = MemoryLog(LOG.key)
    rewritten.add(*(b"rewritten" for _ in LOG.entries))
    files[NOTE] = bytes(
        dice.choice(
            (
                cosigned(MemoryLog(new_key(LOG.key.name)).checkpoint(), SEEN_BY),
                cosigned(LOG.checkpoint(dice.randrange(len(LOG.entries))), SEEN_BY),
                cosigned(rewritten.checkpoint(), SEEN_BY),
                LOG.checkpoint(),
                ours.with_lines([ours.signatures[-1]]),
                LOG.checkpoint().with_lines([seen_smaller.signatures[-1]]),
            )
        )
    )


def _another_growth(dice: random.Random, files: Files) -> None:
    grown = json.loads(files[GROWN])
    what = dice.choice(("less", "order", "older", "none"))
    if what == "less":
        grown["hashes"].pop(dice.randrange(len(grown["hashes"])))
    elif what == "order":
        dice.shuffle(grown["hashes"])
    elif what == "older":
        grown["note"] = bytes(LOG.checkpoint(dice.choice([size for size in range(1, 20) if size != KEPT]))).decode()
    else:
        del files[GROWN]
        return
    files[GROWN] = canonical(grown)


def _another_value(dice: random.Random, files: Files) -> None:
    """Somewhere in what an entry discloses: a value, a salt, a digest, a name."""
    name = _any(dice, files, "bodies/")
    said: dict[str, Any] = json.loads(files[name])
    holder, key = _somewhere(dice, said)
    # Committed values may stay away, all of them: that is said, and no harm.
    hashes = [base64.b64encode(dice.randbytes(32)).decode() for _ in range(3)]
    others = [*hashes, 1, "1", True, [], "AAAA", 1.5, *([] if key == "committed" else [None, {}])]
    holder[key] = dice.choice([other for other in others if other != holder[key]])
    files[name] = json.dumps(said).encode()


def _somewhere(dice: random.Random, said: Any) -> tuple[Any, Any]:
    """A place in a JSON value: what holds it, and its name or number there."""
    keys: list[Any] = sorted(said) if isinstance(said, dict) else list(range(len(said)))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    key = dice.choice(keys)
    deeper = isinstance(said[key], dict | list) and said[key] and dice.random() < 0.8
    return _somewhere(dice, said[key]) if deeper else (said, key)


def _more(dice: random.Random, files: Files) -> None:
    other = hashlib.sha256(dice.randbytes(8)).hexdigest()
    more = {
        "bodies/000003.json": b'{"body":{},"committed":{}}',  # of an entry that commits to nothing
        f"bodies/{ENTRIES + 1:06d}.json": files["bodies/000001.json"],
        f"procedures/{other}.yaml": b"name: autre\n",
        "histories/Case-0190b6e5-0000-7000-8000-000000000000.json": b"{}",
        "checkpoints/2025.note": files[NOTE],
        "grown/2025.json": files[GROWN],
        "letters/decision.pdf": b"%PDF-",
        f"entries/{ENTRIES + 1:06d}.json": _OTHERS[-1],
    }
    name = dice.choice(sorted(more))
    files[name] = more[name]


CARE: dict[str, Callable[[random.Random, Files], None]] = {
    "bytes of a file": _bytes,
    "two files exchanged": _exchanged,
    "an entry gone, the rest moved up": _moved_up,
    "an entry that says otherwise": _another_entry,
    "spliced from another case": _spliced,
    "another place": _another_place,
    "another checkpoint": _another_checkpoint,
    "another growth": _another_growth,
    "another value, salt or digest": _another_value,
    "a file more": _more,
}
TOLD: dict[str, tuple[Any, ...]] = {
    "tenant": ("other", None, 1),
    "case": ("c2", "", None),
    "entries": (ENTRIES - 1, ENTRIES + 1, str(ENTRIES), None),
    "format": ("diwan-bundle/2", None),
    "files": ({}, None, [], {"story.html": hashlib.sha256(b"<p>").hexdigest()}),
}


def bundle_mutated(on: Packed, dice: random.Random) -> tuple[str, bytes]:
    """What was done, and what it became."""
    how = dice.choice((*(["bytes"] * 3), "cover", *CARE))
    if how == "bytes":
        name = dice.choice(sorted(BYTES))
        return name, BYTES[name](dice, on.content)
    files = {name: content for name, content in on.files.items() if name != "bundle.json"}
    told: dict[str, Any] = {}
    if how == "cover":
        name = dice.choice(sorted(TOLD))
        told = {name: dice.choice(TOLD[name])}
    else:
        CARE[how](dice, files)
        told = {"entries": sum(name.startswith("entries/") for name in files)}
    return how, repacked(on, files, told)
