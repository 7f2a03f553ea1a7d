"""Whom a verifier trusts (c2sp.org/tlog-policy): logs by their keys, witnesses by theirs, and how many must agree.

The file is the auditor's own and comes from outside: nothing that is to be verified may bring it along.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from diwan.domain.errors import InvalidInput, Tampered
from diwan.ledger.checkpoint import Checkpoint, cosigned_at, open_checkpoint
from diwan.ledger.note import COSIGNATURE, ED25519, Note, VerifierKey, parse_vkey

NONE = "none"
_MAX_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Witness:
    """`url`: where it is asked, or empty."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class _Group:
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """`quorum` names a witness or a group of them, or is `none`."""

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[Witness, ...] = ()
    quorum: str = NONE
    groups: dict[str, _Group] = field(default_factory=dict[str, _Group])

    def checkpoint(self, note: Note) -> Checkpoint:
        """What the note says, where one of the logs signed it and witnesses enough cosigned.

        Raises `Tampered`: a wrong signature of any key of the policy's is one too many.
        """
        found = self.signed(note)
        if not self.agreed(note):
            raise Tampered(
                "checkpoint.no_quorum",
                f"Witnesses enough are missing: {self.quorum} did not cosign.",
                "The log's own signature holds. Ask for one that is made against your policy (--policy), or try again "
                "in some seconds. If it stays so, see that the policy has the witnesses' own keys, and ask them.",
            )
        return found

    def signed(self, note: Note) -> Checkpoint:
        """As `checkpoint`, whatever witnesses say: a log of the policy signed it, and no other of its keys wrongly."""
        signed = [key for key in self.logs if note.by(key) is not None]
        if not signed:
            raise Tampered("note.not_signed", "No log of the policy signed this checkpoint.")
        found = {open_checkpoint(note, key) for key in signed}
        return found.pop()

    def cosigned(self, note: Note) -> dict[str, int]:
        """Which witnesses of the policy cosigned it, by their names, and when (seconds after 1970)."""
        at = {each.name: cosigned_at(note, each.key) for each in self.witnesses}
        return {name: seconds for name, seconds in at.items() if seconds is not None}

    def agreed(self, note: Note) -> bool:
        """Whether witnesses enough cosigned it. Raises `Tampered` for a wrong line of one of them."""
        return self._agreed(self.quorum, set(self.cosigned(note)))

    def _agreed(self, name: str, seen: set[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name == NONE or name in seen
        return sum(self._agreed(member, seen) for member in group.members) >= group.needed


def parse_policy(content: bytes) -> Policy:
    """Raises `InvalidInput` (`policy.malformed`) that names the line."""
    reader = _Reader()
    if len(content) > _MAX_BYTES:
        raise _malformed(1, "a policy is a short file")
    for number, line in enumerate(content.split(b"\n"), 1):
        if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in line):
            raise _malformed(number, "control characters are not allowed")
        words = line.decode(errors="surrogateescape").replace("\t", " ").strip(" ").split(" ")
        words = [word for word in words if word]
        if words and not words[0].startswith("#"):
            try:
                reader.line(words)
            except ValueError as error:
                raise _malformed(number, str(error)) from None
            except InvalidInput as error:
                raise _malformed(number, error.message) from None
    if reader.quorum is None:
        raise _malformed(content.count(b"\n") + 1, "there is no line `quorum NAME` (`quorum none` wants no witness)")
    return Policy(tuple(reader.logs), tuple(reader.witnesses), reader.quorum, reader.groups)


class _Reader:
    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: list[Witness] = []
        self.groups: dict[str, _Group] = {}
        self.quorum: str | None = None
        self._members: set[str] = set()

    def line(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self.logs.append(self._new(vkey, ED25519, [key.public for key in self.logs]))
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                key = self._new(vkey, COSIGNATURE, [each.key.public for each in self.witnesses])
                self.witnesses.append(Witness(self._free(name), key, words[3] if len(words) > 3 else ""))
            case ["group", name, needed, *members] if members:
                self.groups[self._free(name)] = self._group(needed, members)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise ValueError("there is a quorum already")
                self.quorum = name if name == NONE else self._known(name)
            case _:
                raise ValueError("a line reads log, witness, group or quorum, and what belongs to it")

    def _new(self, vkey: str, type_: int, before: list[bytes]) -> VerifierKey:
        key = parse_vkey(vkey)
        if key.type != type_:
            raise ValueError("that key is not for this use")
        if key.public in before:
            raise ValueError("that key is there already")
        return key

    def _group(self, needed: str, members: list[str]) -> _Group:
        for member in map(self._known, members):
            if member in self._members:
                raise ValueError(f"{member} is a member already")
            self._members.add(member)
        named = {"any": 1, "all": len(members)}
        if needed not in named and not (needed.isascii() and needed.isdecimal() and needed[0] != "0"):
            raise ValueError("a group wants any, all or a number of its members")
        count = named[needed] if needed in named else int(needed)
        if count > len(members):
            raise ValueError("a group cannot want more members than it has")
        return _Group(count, tuple(members))

    def _free(self, name: str) -> str:
        if name == NONE or name in self.groups or name in (each.name for each in self.witnesses):
            raise ValueError(f"the name {name} is taken")
        return name

    def _known(self, name: str) -> str:
        if name not in self.groups and name not in (each.name for each in self.witnesses):
            raise ValueError(f"{name} is named before it is defined")
        return name


def _malformed(number: int, why: str) -> InvalidInput:
    return InvalidInput("policy.malformed", f"Line {number} of the policy: {why}.", "See c2sp.org/tlog-policy.")
