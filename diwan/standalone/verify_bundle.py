"""Verifies a bundle of Diwan's: the file of one case, years later, with no network, no database and no Diwan.

    python verify_bundle.py BUNDLE.zip POLICY [CHECKPOINT…]

POLICY is yours and does not come with the bundle: the log's public key and the witnesses you trust, in the form of
c2sp.org/tlog-policy. So is a CHECKPOINT, one that you kept and that the bundle was made to begin with. Needs Python
3.11 and the package `cryptography`, nothing else; it writes nothing.

What is checked: that there are no files but those a bundle has; every entry, that its bytes are canonical JSON (RFC
8785), number and link to the one before; every checkpoint, signed by a log of the policy and cosigned by witnesses
enough; every entry's place in that log, and how it grew from what you kept (RFC 6962); every value that is disclosed,
against the salted commitment in its entry; the procedure's text and the histories of runs, against the hashes that
entries name. Exit code 0 where all of it holds.

What is not: `story.html` is for reading, and whoever packed the bundle wrote it; the cover's number of the case is
its word alone. And no bundle can show that nothing follows its last entry: for that ask for the log's newest
checkpoint, and for a bundle made against it.

Formats: docs/ledger.md. This file shares no code with the service that wrote the bundle.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "diwan-bundle/1"
NAMES = re.compile(
    r"bundle\.json|places\.json|story\.html|verify_bundle\.py|(entries|bodies)/\d{6}\.json"
    r"|checkpoints/\d{4}(-\d{1,3})?\.note|grown/\d{4}(-\d{1,3})?\.json|procedures/[0-9a-f]{64}\.yaml"
    r"|histories/[A-Za-z]{1,40}-[0-9a-f-]{36}\.json",
    re.ASCII,
)
FIELD = re.compile(r"(/[a-z][a-z0-9_]{0,59}){1,2}", re.ASCII)
NUMBER = re.compile(r"[\w.-]{0,60}")
MAX_BYTES = 512 * 1024 * 1024  # of all that is in it, unpacked
MAX_FILES = 200_000
MAX_HEADER = 4096
ED25519, COSIGNATURE = 1, 4


class Failed(Exception):
    """What does not hold, where; `code` is a machine name."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


def demand(holds: bool, code: str, text: str) -> None:
    if not holds:
        raise Failed(code, text)


@dataclass
class Verified:
    """What was found to hold. `kept_back`: fields (7/reason) and values (7:event) of entries that disclose the rest."""

    tenant: str
    case: str
    number: str
    entries: int
    disclosed: int
    withheld: list[int]
    kept_back: list[str]
    first_at: str
    last_at: str
    last_kind: str
    logs: dict[str, int] = field(default_factory=dict[str, int])
    grown_from: dict[str, int] = field(default_factory=dict[str, int])
    procedures: list[str] = field(default_factory=list[str])
    histories_missing: list[int] = field(default_factory=list[int])
    closed_by: int = 0
    after_closing: list[str] = field(default_factory=list[str])


# --- the bundle -------------------------------------------------------------------------------------------------------


def verify(bundle: Path, policy: Path, kept: Sequence[Path] = ()) -> Verified:
    """Raises `Failed` with the first thing that does not hold; `kept` are checkpoints of the reader's own."""
    trusted = parse_policy(read_file(policy))
    files = unpack(bundle)
    told = said(files.pop("bundle.json", b""), "bundle.json")
    demand(told.get("format") == FORMAT, "bundle.format", f"the bundle is not of the form {FORMAT}")
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    demand(listed == told.get("files"), "bundle.files", "the files are not those that the bundle lists")
    cover = str(number) if isinstance(number := told.get("number", ""), str) else "no text"
    demand(NUMBER.fullmatch(cover) is not None, "bundle.format", "the cover's number is no number of a case")
    headers = entries_of(files, told)
    checkpoints = {n: trusted.checkpoint(note) for n, note in sorted(files.items()) if n.startswith("checkpoints/")}
    once = len({each.origin for each in checkpoints.values()}) == len(checkpoints)
    demand(once, "checkpoint.twice", "two checkpoints are of one log, and nothing shows that they agree")
    places = said(files.get("places.json", b""), "places.json")
    logs = dict(placed(number, each, places.get(str(number)), checkpoints) for number, each in enumerate(headers, 1))
    grown = grown_from(files, checkpoints, trusted, [read_file(each) for each in kept])
    opened, named = bodies_of(files, headers), procedures_of(files, headers)
    first, last = json.loads(headers[0]), json.loads(headers[-1])
    ends = first["at"], last["at"], last["kind"]
    lists = logs, grown, named, *told_of(files, headers)
    return Verified(first["tenant"], first["chain"], cover, len(headers), *opened, *ends, *lists)


def unpack(bundle: Path) -> dict[str, bytes]:
    """The files by name, each once, none with a way out of its folder, bounded before it is unpacked."""
    try:
        with zipfile.ZipFile(bundle) as packed:
            listed = packed.infolist()
            names = [each.filename for each in listed]
            bounded = len(names) <= MAX_FILES and sum(each.file_size for each in listed) <= MAX_BYTES
            demand(bounded, "bundle.too_large", "the bundle is larger than any bundle may be")
            known = len(set(names)) == len(names) and all(NAMES.fullmatch(name) for name in names)
            demand(known, "bundle.names", "a file is there twice, or has a name that no bundle has")
            return {each.filename: unpacked(packed, each) for each in listed}
    except Failed:
        raise
    except Exception as error:  # a zip that was made to break its reader raises whatever it likes
        raise Failed("bundle.unreadable", f"the bundle cannot be read ({type(error).__name__})") from None


def unpacked(packed: zipfile.ZipFile, file: zipfile.ZipInfo) -> bytes:
    """No more than it says that it has, whatever comes out."""
    packing = file.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    demand(packing, "bundle.unreadable", f"{file.filename} is packed in a way that no bundle is")
    with packed.open(file) as content:
        found = content.read(file.file_size + 1)
    demand(len(found) == file.file_size, "bundle.unreadable", f"{file.filename} has another length than it says")
    return found


def entries_of(files: dict[str, bytes], told: dict[str, Any]) -> list[bytes]:
    """The chain's entries, from the first to the last that the bundle claims; each names the one before it."""
    names = sorted(name for name in files if name.startswith("entries/"))
    whole = bool(names) and names == [f"entries/{n:06d}.json" for n in range(1, len(names) + 1)]
    demand(whole, "entry.missing", "the entries are not numbered from 1 without a gap")
    claimed = told.get("entries")
    demand(claimed == len(names), "entry.missing", f"the bundle claims {claimed} entries and has {len(names)}")
    headers = [files[name] for name in names]
    previous: bytes | None = None
    whose = told.get("tenant"), told.get("case")
    for number, header in enumerate(headers, 1):
        entry = said(header, f"entry {number}", no_such_number)  # fractions are in bodies only
        form = len(header) <= MAX_HEADER and canonical(entry) == header
        demand(form, "entry.not_canonical", f"entry {number} is not canonical JSON")
        says = all(isinstance(entry.get(name), str) for name in ("tenant", "chain", "kind", "at"))
        demand(says, "entry.not_an_entry", f"entry {number} lacks what every entry says")
        stands = (entry["tenant"], entry["chain"], entry.get("seq")) == (*whose, number)
        demand(stands, "entry.other_place", f"entry {number} is not of the case that the bundle names, or out of order")
        links = entry.get("prev") == (None if previous is None else previous.hex())
        demand(links, "entry.link_differs", f"entry {number} does not name the one before it")
        previous = leaf_hash(header)
    return headers


def placed(number: int, header: bytes, place: Any, checkpoints: dict[str, Checkpoint]) -> tuple[str, int]:
    """The entry stands in a log whose checkpoint the policy trusts."""
    told = an_object(place)
    found, index = checkpoints.get(str(told.get("checkpoint"))), told.get("index")
    if found is None or type(index) is not int:
        raise Failed("bundle.no_place", f"entry {number} has no place in a log")
    proof = hashes_of(told, f"the place of entry {number}")
    there = included(index, found.size, leaf_hash(header), proof, found.root)
    demand(there, "entry.not_included", f"entry {number} is not at {index} of {found.origin}")
    return found.origin, found.size


def hashes_of(told: dict[str, Any], where: str) -> list[bytes]:
    hashes = told.get("hashes")
    return [unbase64(each, where) for each in cast("list[Any]", hashes if isinstance(hashes, list) else [None])]


def grown_from(
    files: dict[str, bytes], checkpoints: dict[str, Checkpoint], trusted: Policy, kept: list[bytes]
) -> dict[str, int]:
    """How many entries each log had when somebody kept a checkpoint of it, which it is shown to begin with."""
    known: dict[str, Checkpoint] = {}
    for name in sorted(name for name in files if name.startswith("grown/")):
        told, now = said(files[name], name), checkpoints.get(f"checkpoints/{name[6:-5]}.note")
        before = trusted.checkpoint(str(told.get("note")).encode(), quorum=False)
        if now is None or now.origin != before.origin or not consistent(before, now, hashes_of(told, name)):
            raise Failed("checkpoint.not_grown", f"{name} does not show that a log of this bundle only grew")
        known[now.origin] = before
    for mine in (trusted.checkpoint(each, quorum=False) for each in kept):
        begins = known.get(mine.origin) == mine
        demand(begins, "checkpoint.not_kept", f"{mine.origin} is not shown to begin with your {mine.size} entries")
    return {origin: before.size for origin, before in known.items()}


def bodies_of(files: dict[str, bytes], headers: list[bytes]) -> tuple[int, list[int], list[str]]:
    """How many entries disclose what they commit to, which do not, what the others keep back: the rest opens."""
    disclosed, withheld, kept = 0, list[int](), list[str]()
    names = {name for name in files if name.startswith("bodies/")}
    for number, header in enumerate(headers, 1):
        commitments = an_object(json.loads(header).get("commitments"))
        name = f"bodies/{number:06d}.json"
        if name not in names:
            withheld += [number] if commitments else []
            continue
        names.discard(name)
        body = said(files[name], name)
        opened, whole = an_object(body.get("committed")), {"fields"} & set(commitments)
        committed = set(body) <= {"committed", "body"} | whole and set(opened) <= set(commitments)
        demand(committed, "body.differs", f"entry {number} discloses what it does not commit to")
        digests = {each: opens(pair, commitments[each], f"{each} of entry {number}") for each, pair in opened.items()}
        if whole:
            kept += fields_of(number, body, commitments["fields"])
        else:
            digest = hashlib.sha256(canonical(body["body"])).digest() if "body" in body else None
            same = digests.get("body") == digest
            demand(same, "body.differs", f"the body of entry {number} is not the one committed to")
        kept += [f"{number}:{which}" for which in sorted(set(commitments) - set(opened) - whole)]
        disclosed += 1
    demand(not names, "body.differs", f"{', '.join(sorted(names))}: of no entry")
    return disclosed, withheld, kept


def fields_of(number: int, body: dict[str, Any], commitment: str) -> list[str]:
    """The fields of a body that are kept back; those that are there are what the entry binds, and nothing else is."""
    parts, there, kept = an_object(body.get("fields")), an_object(body.get("body")), list[str]()
    bound, again = dict[str, str](), dict[str, Any]()
    for pointer, part in parts.items():
        where, (above, _, name) = f"{number}{pointer}", pointer[1:].rpartition("/")
        form = FIELD.fullmatch(pointer) is not None and f"/{above}" not in parts and len(an_object(part)) == 1
        demand(form, "body.differs", f"{where} is no field of an entry")
        if "commitment" in part:
            bound[pointer] = unbase64(part["commitment"], where).hex()
            kept.append(where)
            continue
        salt, held = unbase64(part.get("salt"), where), an_object(there.get(above)) if above else there
        demand(len(salt) == 32 and name in held, "body.differs", f"{where} is not opened by a salt and a value")
        bound[pointer] = hmac.new(salt, hashlib.sha256(canonical(held[name])).digest(), hashlib.sha256).hexdigest()
        (again.setdefault(above, {}) if above else again)[name] = held[name]
    same = hashlib.sha256(canonical(bound)).hexdigest() == commitment and canonical(again) == canonical(there)
    demand(same, "body.differs", f"the fields of entry {number} are not those committed to")
    return kept


def opens(pair: Any, commitment: str, where: str) -> bytes:
    """The digest that a pair of salt and digest opens a commitment to: HMAC-SHA-256 of it, keyed by the salt."""
    parts = an_object(pair)
    demand(set(parts) == {"salt", "digest"}, "body.differs", f"{where} is not opened by a salt and a digest")
    salt, digest = (unbase64(parts[part], where) for part in ("salt", "digest"))
    fits = len(salt) == len(digest) == 32 and hmac.new(salt, digest, hashlib.sha256).hexdigest() == commitment
    demand(fits, "body.differs", f"{where} does not open its commitment")
    return digest


def procedures_of(files: dict[str, bytes], headers: list[bytes]) -> list[str]:
    """Each text of a procedure is one that an entry names by its hash."""
    named = {json.loads(header).get("procedure_hash") for header in headers}
    texts = sorted(name for name in files if name.startswith("procedures/"))
    for name in texts:
        is_named = hashlib.sha256(files[name]).hexdigest() in named
        demand(is_named, "procedure.differs", f"{name} is not a procedure that an entry names")
    return [hashlib.sha256(files[name]).hexdigest() for name in texts]


def an_object(value: Any) -> dict[str, Any]:
    """Empty where there is none; anything else in its place is no way of leaving it out."""
    demand(value is None or isinstance(value, dict), "json.unreadable", "something else stands where an object belongs")
    return cast("dict[str, Any]", value or {})


def told_of(files: dict[str, bytes], headers: list[bytes]) -> tuple[list[int], int, list[str]]:
    """Entries whose histories are not here (withheld, erased); that which closed the case; kinds of what follows it."""
    left, missing, closed, after = {name for name in files if name.startswith("histories/")}, list[int](), 0, set[str]()
    for number, entry in enumerate(map(json.loads, headers), 1):
        told = an_object(entry.get("detail"))
        after |= {entry["kind"]} if closed else set()
        if told.get("closes") is True:
            counts = not closed and told.get("entries") == number
            demand(counts, "entry.closing_differs", f"entry {number} closes the case and counts others than come first")
            closed = number
        if entry["kind"] == "case:history:kept":
            name = f"histories/{told.get('type')}-{told.get('run')}.json"
            missing += [] if name in left else [number]
            same = name not in left or hashlib.sha256(files[name]).hexdigest() == told.get("digest")
            demand(same, "history.differs", f"{name} is not the history that entry {number} tells of")
            left.discard(name)
    demand(not left, "history.differs", f"{', '.join(sorted(left))}: of no entry")
    return missing, closed, sorted(after)


class Spelled(str):
    """A number as it is spelled: a fraction, or one too large to be exact. What was hashed fits no other spelling."""

    __slots__ = ()


def no_such_number(spelled: str) -> Any:
    raise ValueError(f"{spelled} is no number that is read here")


def said(content: bytes, where: str, number: Callable[[str], Any] = Spelled) -> dict[str, Any]:
    """A JSON object, whose names are each there once; `number` reads numbers that are no exact integers."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    def exact(digits: str) -> Any:
        return int(digits) if len(digits) < 18 and abs(int(digits)) < 2**53 else number(digits)

    try:
        decoder = json.JSONDecoder(
            object_pairs_hook=once, parse_int=exact, parse_float=number, parse_constant=no_such_number
        )
        found = decoder.decode(content.decode())
    except (ValueError, RecursionError):
        raise Failed("json.unreadable", f"{where} cannot be read as JSON") from None
    if not isinstance(found, dict):
        raise Failed("json.unreadable", f"{where} is not an object")
    return cast("dict[str, Any]", found)


def canonical(value: Any) -> bytes:
    """RFC 8785: names in the order of UTF-16, no space."""
    try:
        return written(value).encode()
    except (ValueError, RecursionError):
        raise Failed("json.unreadable", "a value that has no canonical form") from None


def written(value: Any) -> str:
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        names = sorted(named, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{written(name)}:{written(named[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, cast("list[Any]", value))) + "]"
    if isinstance(value, Spelled):
        return value
    return json.dumps(value, ensure_ascii=False)


# --- the tree: RFC 6962, checked as RFC 9162, 2.1.3.2 says ------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def included(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> bool:
    """Whether the leaf is at `index` of the tree with this size and root."""
    return 0 <= index < size and climb(index, size - 1, leaf, proof)[0] == root


def consistent(before: Checkpoint, now: Checkpoint, proof: list[bytes]) -> bool:
    """Whether the tree of now begins with that of before (RFC 9162, 2.1.4.2)."""
    if before.size in (0, now.size):
        return not proof and (before.size == 0 or before.root == now.root)
    node, last = before.size - 1, now.size - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    way = proof if before.size & (before.size - 1) else [before.root, *proof]
    return before.size < now.size and bool(way) and climb(node, last, way[0], way[1:]) == (now.root, before.root)


def climb(node: int, last: int, now: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """The root over all leaves, and that over those up to the first one's; empty where the proof does not fit."""
    before = now
    for beside in proof:
        if last == 0 or len(beside) != 32:
            return b"", b""
        if node % 2 or node == last:
            now, before = (hashlib.sha256(b"\x01" + beside + each).digest() for each in (now, before))
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            now = hashlib.sha256(b"\x01" + now + beside).digest()
        node, last = node >> 1, last >> 1
    return (now, before) if last == 0 else (b"", b"")


# --- signed notes, checkpoints, cosignatures, policies (c2sp.org) -----------------------------------------------------


@dataclass(frozen=True)
class Key:
    name: str
    type: int
    public: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([self.type]) + self.public).digest()[:4]

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes


def parse_key(vkey: str) -> Key:
    name, _, rest = vkey.partition("+")
    identity, _, encoded = rest.partition("+")
    material = unbase64(encoded, "a key of the policy")
    known = bool(name) and len(material) == 33 and material[0] in (ED25519, COSIGNATURE)
    demand(known, "policy.key", f"{vkey} is not a key that is known here")
    key = Key(name, material[0], material[1:])
    demand(key.id.hex() == identity, "policy.key", f"{vkey} has an id that is not its own")
    return key


def open_note(content: bytes) -> tuple[str, dict[tuple[str, bytes], bytes]]:
    """The text, and what each key (name, id) signed; a key that is there twice is refused."""
    try:
        text, blank, lines = content.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise Failed("note.malformed", "a checkpoint is not UTF-8") from None
    signatures: dict[tuple[str, bytes], bytes] = {}
    form = bool(blank) and lines.endswith("\n") and all(char >= " " or char == "\n" for char in text + lines)
    demand(form, "note.malformed", "a checkpoint is not a signed note")
    for line in lines[:-1].split("\n"):
        found = re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})", line)
        blob = unbase64(found[2], "a signature line") if found else b""
        if found is None or len(blob) < 5 or (found[1], blob[:4]) in signatures:
            raise Failed("note.malformed", "a checkpoint has a line that is no signature, or one key twice")
        signatures[found[1], blob[:4]] = blob[4:]
    return text + "\n", signatures


@dataclass
class Policy:
    logs: list[Key] = field(default_factory=list[Key])
    witnesses: dict[str, Key] = field(default_factory=dict[str, Key])
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict[str, tuple[int, list[str]]])
    quorum: str = ""

    def checkpoint(self, content: bytes, *, quorum: bool = True) -> Checkpoint:
        """What the note says, if a log of the policy signed it and witnesses enough cosigned. Wrong lines spoil it."""
        text, signatures = open_note(content)
        lines = text.split("\n")
        form = len(lines) == 4 and re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1]) is not None
        demand(form, "checkpoint.malformed", "a signed note is no checkpoint")
        said_ = Checkpoint(lines[0], int(lines[1]), unbase64(lines[2], "a checkpoint's root"))
        signed = False
        for key in self.logs:
            signature = signatures.get((key.name, key.id))
            if signature is None:
                continue
            signed = key.verifies(signature, text.encode()) and key.name == said_.origin
            demand(signed, "checkpoint.signature", f"the signature of {key.name} does not verify")
        demand(signed, "checkpoint.no_log", f"no log of the policy signed the checkpoint of {said_.origin}")
        seen = {name for name, key in self.witnesses.items() if self._cosigned(key, text, signatures)}
        agreed = not quorum or self._agreed(self.quorum, seen)
        missing = f"witnesses enough are missing: {self.quorum} did not cosign; ask for one made against your policy"
        demand(agreed, "checkpoint.no_quorum", missing)
        return said_

    def _cosigned(self, key: Key, text: str, signatures: dict[tuple[str, bytes], bytes]) -> bool:
        blob = signatures.get((key.name, key.id))
        if blob is None:
            return False
        seconds = int.from_bytes(blob[:8], "big")
        message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
        cosigned = 0 < seconds < 2**63 and key.verifies(blob[8:], message)
        demand(cosigned, "checkpoint.signature", f"the cosignature of {key.name} does not verify")
        return True

    def _agreed(self, name: str, seen: set[str]) -> bool:
        if name not in self.groups:
            return name == "none" or name in seen
        needed, members = self.groups[name]
        return sum(self._agreed(member, seen) for member in members) >= needed


def parse_policy(content: bytes) -> Policy:
    policy, used = Policy(), set[str]()
    if any((byte < 0x20 and byte not in (0x09, 0x0A)) or byte == 0x7F for byte in content):
        raise Failed("policy.malformed", "control characters (a carriage return is one) are not allowed in a policy")
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if not words or words[0].startswith("#"):
            continue
        known = {*policy.witnesses, *policy.groups}
        match words:
            case ["log", vkey] | ["log", vkey, _] if (key := parse_key(vkey)).type == ED25519:
                if key.public in {each.public for each in policy.logs}:
                    raise Failed("policy.malformed", f"line {number}: that key is there already")
                policy.logs.append(key)
            case ["witness", name, vkey] | ["witness", name, vkey, _] if name not in {*known, "none"}:
                key = parse_key(vkey)
                if key.type != COSIGNATURE or key.public in {each.public for each in policy.witnesses.values()}:
                    raise Failed("policy.malformed", f"line {number}: the key is not a witness's, or there already")
                policy.witnesses[name] = key
            case ["group", name, needed, *members] if (
                members and name not in {*known, "none"} and set(members) <= known
            ):
                wanted = int(needed) if re.fullmatch(r"[1-9][0-9]*", needed, re.ASCII) else 0
                count = {"any": 1, "all": len(members)}.get(needed, wanted)
                if not 1 <= count <= len(members) or used & set(members) or len(set(members)) < len(members):
                    raise Failed("policy.malformed", f"line {number}: too many wanted, or a member twice")
                used |= set(members)
                policy.groups[name] = (count, members)
            case ["quorum", name] if not policy.quorum and name in {*known, "none"}:
                policy.quorum = name
            case _:
                raise Failed("policy.malformed", f"line {number} of the policy cannot be read")
    if not policy.quorum or not policy.logs:
        raise Failed("policy.malformed", "the policy names no log, or no quorum (`quorum none` wants no witness)")
    return policy


def unbase64(text: Any, where: str) -> bytes:
    """Standard base64 in its one spelling."""
    try:
        content = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Failed("base64.unreadable", f"{where} is not base64") from None
    if base64.b64encode(content).decode() != text:
        raise Failed("base64.unreadable", f"{where} is not base64 in its one spelling")
    return content


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failed("file.unreadable", f"{path}: {error.strerror}") from None


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        sys.stderr.write("usage: python verify_bundle.py BUNDLE.zip POLICY [CHECKPOINT...]\n")
        return 2
    try:
        found = verify(Path(arguments[0]), Path(arguments[1]), [Path(each) for each in arguments[2:]])
    except Failed as failed:
        sys.stderr.write(f"DOES NOT HOLD  {failed.code}: {failed}\n")
        return 1
    withheld = ", ".join([*map(str, found.withheld), *found.kept_back])
    said_ = f"holds: entries 1 to {found.entries} of case {found.case} of {found.tenant}, from {found.first_at} to "
    said_ += f"{found.last_at}, {found.disclosed} disclosed" + (f", withheld: {withheld}\n" if withheld else "\n")
    for origin, size in sorted(found.logs.items()):
        grown = f", grown from a checkpoint at {found.grown_from[origin]}" if origin in found.grown_from else ""
        said_ += f"in the log {origin}, of {size} entries{grown}\n"
    said_ += f"closed by entry {found.closed_by or '-'}; after that: {', '.join(found.after_closing) or '-'}\n"
    said_ += f"histories that are not here, by entry: {', '.join(map(str, found.histories_missing)) or '-'}\n"
    said_ += f"not checked: story.html; that the case has the number {found.number or '-'}; "
    sys.stdout.write(f"{said_}that nothing follows entry {found.entries}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
