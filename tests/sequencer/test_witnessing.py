"""Witnesses are asked, caught up and believed by their keys alone; one that is away or refuses holds up no other."""

from __future__ import annotations

import gzip
import shutil
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from diwan import metrics
from diwan.domain.errors import DiwanError, InvalidInput, NeedsPerson, Unavailable
from diwan.ledger.checkpoint import parse_checkpoint
from diwan.ledger.note import SigningKey, new_key, parse_note, parse_signing_key, parse_vkey
from diwan.ledger.policy import Policy, Witness, parse_policy
from diwan.ledger.witnessed import Growth
from diwan.sequencer import Sequencer
from diwan.store.database import Database
from diwan.store.ledger_cosigned import newest, witnessed
from diwan.store.ledger_tree import Published
from diwan.witness.memory import Memory, initialise
from diwan.witness.server import create_app
from diwan.witnessing import Witnessing, http_client
from tests.ledger.logs import MemoryLog, witness
from tests.pool.serving import serving
from tests.sequencer.conftest import Write
from tests.support.databases import TestDatabase
from tests.support.growing import ORIGIN, OwnSigner

NAMES = ("court", "university")
Grow = Callable[[int], Awaitable[None]]
Ask = Callable[..., Awaitable[Witnessing]]


@dataclass
class Site:
    """One server for whoever answers in this module's tests, each under a path: a server takes its time to end."""

    app: Starlette
    url: str

    def put(self, name: str, app: Starlette) -> str:
        """The address; what answered there before answers no more."""
        self.app.router.routes.insert(0, Mount(f"/{name}", app))  # the first that fits answers
        return f"{self.url}/{name}"


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    app = Starlette()
    async with serving(app) as url:
        yield Site(app, url)


@dataclass
class Outside:
    """Two witnesses on machines of their own, and the sequencer's way to them."""

    folder: Path
    stack: ExitStack
    site: Site
    memories: dict[str, Memory] = field(default_factory=dict[str, Memory])
    urls: dict[str, str] = field(default_factory=dict[str, str])

    def start(self, name: str, *, follows: list[str]) -> None:
        folder = self.folder / name
        if not folder.exists():
            initialise(folder, f"{name}.example/1")
        self.memories[name] = memory = Memory(folder, lambda: datetime.now(UTC))
        self.stack.callback(memory.close)
        for vkey in follows:
            memory.follow(parse_vkey(vkey))
        self.urls[name] = self.site.put(name, create_app(memory))

    def answer(self, name: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
        """In that witness's place."""
        app = Starlette(routes=[Route("/add-checkpoint", answer, methods=["POST"])])
        self.urls[name] = self.site.put(f"not-{name}", app)

    @property
    def policy(self) -> Policy:
        lines = [f"witness {name} {memory.verifier} {self.urls[name]}" for name, memory in self.memories.items()]
        return parse_policy("\n".join([*lines, "quorum none"]).encode())

    def witness(self, name: str) -> Witness:
        return next(each for each in self.policy.witnesses if each.name == name)

    def cosigned(self, name: str) -> int:
        (log,) = self.memories[name].followed()
        return log.size


@pytest.fixture
async def grow(sequencer: Sequencer, write: Write) -> Grow:
    async def grown(count: int) -> None:
        await write(count, "tests/witnessed")
        await sequencer.grow_once()
        await sequencer.publish_once()

    await grown(3)
    return grown


@pytest.fixture
def outside(tmp_path: Path, signer: OwnSigner, site: Site, grow: Grow) -> Iterator[Outside]:
    with ExitStack() as stack:
        made = Outside(tmp_path, stack, site)
        for name in NAMES:
            made.start(name, follows=signer.memory.keys())
        yield made


@pytest.fixture
async def ask(outside: Outside, connect: Callable[[str], Database]) -> AsyncIterator[Ask]:
    """`await ask("court", …)`: by a sequencer that remembers nothing, unless `by` one that does."""
    async with http_client() as http:

        def begun() -> Witnessing:
            return Witnessing(connect("diwan_sequencer"), http, outside.policy, ORIGIN, lambda: 0.0, pace_s=0.0)

        async def asked(*names: str, by: Witnessing | None = None) -> Witnessing:
            witnessing = by or begun()
            for name in names:
                await witnessing.ask_once(outside.witness(name))
            return witnessing

        yield asked


async def served(connect: Callable[[str], Database], policy: Policy | None = None) -> Published:
    async with connect("diwan_auditor").transaction(None) as conn:
        found = await newest(conn) if policy is None else await witnessed(conn, "", policy=policy)
    assert found is not None
    return found


def wants(outside: Outside, signer: OwnSigner, quorum: str) -> Policy:
    keys = signer.memory.keys()
    lines = [f"log {vkey}" for vkey in keys]
    lines += [f"witness {name} {memory.verifier}" for name, memory in outside.memories.items()]
    return parse_policy("\n".join([*lines, "group both all court university", f"quorum {quorum}"]).encode())


async def test_cosignatures_join_the_checkpoint_that_is_served(
    outside: Outside, ask: Ask, grow: Grow, connect: Callable[[str], Database], signer: OwnSigner
) -> None:
    witnessing = await ask("court")
    policy = wants(outside, signer, "both")
    with pytest.raises(DiwanError, match="missing"):
        policy.checkpoint(parse_note((await served(connect)).note))
    await ask("university", by=witnessing)
    note = parse_note((await served(connect)).note)
    checkpoint = policy.checkpoint(note)
    assert set(policy.cosigned(note)) == set(NAMES)
    assert metrics.LEDGER_WITNESSED.values[checkpoint.origin[-4:], "court"] == checkpoint.size
    again = await ask(*NAMES)
    assert parse_note((await served(connect)).note) == note
    await grow(4)
    await ask(*NAMES, by=again)
    assert policy.checkpoint(parse_note((await served(connect)).note)).size == checkpoint.size + 4


async def test_a_witness_that_is_away_delays_its_own_cosignature_and_is_caught_up(
    outside: Outside, ask: Ask, grow: Grow, connect: Callable[[str], Database], signer: OwnSigner
) -> None:
    await ask(*NAMES)
    both = parse_checkpoint(parse_note((await served(connect)).note).text).size
    away, outside.urls["university"] = outside.urls["university"], "http://127.0.0.1:9"
    for count in (1, 7, 300):
        await grow(count)
        await ask("court")
        with pytest.raises(Unavailable) as error:
            await ask("university")
        assert error.value.code == "witness.not_answering"
    size = outside.cosigned("court")
    assert size == both + 308
    assert outside.cosigned("university") == both
    assert (await served(connect, wants(outside, signer, "court"))).size == size
    assert (await served(connect, wants(outside, signer, "both"))).size == both, "the newest that both cosigned is kept"
    outside.urls["university"] = away
    await ask("university")
    assert (await served(connect, wants(outside, signer, "both"))).size == size


async def test_what_a_later_checkpoint_outdoes_is_not_kept(
    outside: Outside, ask: Ask, grow: Grow, database: TestDatabase
) -> None:
    for _ in range(4):
        await grow(1)
        await ask(*NAMES)
    await grow(1)
    await ask("court")
    with psycopg.connect(database.url("postgres")) as connection:
        rows = connection.execute(
            "select size, cardinality(witnesses), hour from ledger_cosigned "
            "where hour = (select max(hour) from ledger_cosigned) order by size desc limit 2"
        ).fetchall()
        counted = connection.execute("select count(*) from ledger_cosigned where witnesses @> %s", [[]]).fetchone()
    assert [row[1] for row in rows] in ([1, 2], [1])
    assert counted is not None
    assert counted[0] < 12


async def test_cosignatures_stand_under_a_checkpoint_that_another_key_signed_as_well(
    outside: Outside,
    ask: Ask,
    sequencer: Sequencer,
    connect: Callable[[str], Database],
    signer: OwnSigner,
    grow: Grow,
) -> None:
    """A cosignature is of the text, whoever signed it: where a key is exchanged, nobody needs be asked again."""
    await grow(1)
    witnessing = await ask("court")
    (old,) = signer.memory.keys()
    _, new = signer.memory.rotate(parse_vkey(old).name)
    await sequencer.publish_once()
    await ask("court", by=witnessing)
    outside.memories["university"].follow(parse_vkey(new))
    await ask("university", by=witnessing)
    policy = wants(outside, signer, "both")
    assert policy.logs == (parse_vkey(new),)
    policy.checkpoint(parse_note((await served(connect)).note))
    policy.checkpoint(parse_note((await served(connect, policy)).note))
    async with connect("diwan_web").transaction(None) as conn:
        most = await witnessed(conn, "")
    assert most is not None
    policy.checkpoint(parse_note(most.note))


def key_of(signer: OwnSigner) -> SigningKey:
    """What whoever holds the signer's machine has."""
    (file,) = signer.memory._keys.glob("*.key")
    return parse_signing_key(file.read_text().strip())


async def test_a_split_view_is_refused_and_seen(
    outside: Outside, ask: Ask, grow: Grow, connect: Callable[[str], Database], signer: OwnSigner
) -> None:
    """The log's own key signs two histories: one is shown to the witness first, then the other by the sequencer."""
    other = MemoryLog(key_of(signer))
    other.add(b"what was decided", b"in another history")
    outside.memories["court"].add(Growth(0, (), other.checkpoint()))
    with pytest.raises(NeedsPerson) as error:
        await ask("court")
    assert error.value.code == "witness.split_view"
    shard = other.key.name[-4:]
    assert metrics.LEDGER_REFUSED.values[shard, "court", "split_view"] == 1
    assert outside.cosigned("court") == 2
    await grow(2)
    await ask("university")
    note = parse_note((await served(connect)).note)
    assert set(wants(outside, signer, "none").cosigned(note)) == {"university"}, "and nobody else is held up"


def shown_another_history(outside: Outside, signer: OwnSigner, size: int) -> str:
    """The court cosigned another tree of that size under the log's own key. The shard."""
    other = MemoryLog(key_of(signer))
    other.add(*(f"entry {n}".encode() for n in range(size)))
    outside.memories["court"].add(Growth(0, (), other.checkpoint()))
    return other.key.name[-4:]


@pytest.mark.parametrize("content", [b"%d\n", b"", b"conflict\n"], ids=["its size", "nothing", "words"])
async def test_a_split_view_at_the_same_size_is_no_outage(
    outside: Outside, ask: Ask, connect: Callable[[str], Database], content: bytes
) -> None:
    """Whoever made the witness: the specification wants 409 there, too, and does not say with what body."""
    size = parse_checkpoint(parse_note((await served(connect)).note).text).size

    async def answer(request: Request) -> Response:
        if (await request.body()).startswith(b"old %d\n" % size):
            return Response(content.replace(b"%d", str(size).encode()), 409)
        return Response(f"{size}\n", 409)

    outside.answer("court", answer)
    with pytest.raises(NeedsPerson) as error:
        await ask("court")
    assert error.value.code == "witness.split_view"


async def test_our_own_witness_says_so_at_the_same_size_too(
    outside: Outside, ask: Ask, connect: Callable[[str], Database], signer: OwnSigner
) -> None:
    size = parse_checkpoint(parse_note((await served(connect)).note).text).size
    shard = shown_another_history(outside, signer, size)
    with pytest.raises(NeedsPerson) as error:
        await ask("court")
    assert error.value.code == "witness.split_view"
    assert metrics.LEDGER_REFUSED.values[shard, "court", "split_view"] == 1
    assert outside.cosigned("court") == size


async def test_the_end_of_a_log_that_was_left_is_cosigned_by_those_who_followed_it(
    outside: Outside, ask: Ask, grow: Grow, connect: Callable[[str], Database]
) -> None:
    """Under another origin the ledger goes on elsewhere, and nobody would ask for these cosignatures ever again. Who
    refuses one is asked no more: the log that goes on waits for no other."""
    await ask("court")
    await grow(4)
    size, before = parse_checkpoint(parse_note((await served(connect)).note).text).size, outside.cosigned("university")
    asked: list[bytes] = []

    async def refuse(request: Request) -> Response:
        asked.append(await request.body())
        return Response(b"", 422)

    async with http_client() as http:
        db = connect("diwan_sequencer")

        def renamed() -> Witnessing:
            return Witnessing(db, http, outside.policy, "ledger.example/renamed", lambda: 0.0, pace_s=0.0)

        right = outside.urls["court"]
        outside.answer("court", refuse)
        one = renamed()
        for _ in range(3):
            assert await one.ask_once(outside.witness("court")) == 0
        assert len(asked) == 1
        outside.urls["court"] = right
        for name in NAMES:
            await renamed().ask_once(outside.witness(name))
    assert (outside.cosigned("court"), outside.cosigned("university")) == (size, before)


async def test_a_witness_that_saw_more_than_the_log_has_is_heard(outside: Outside, ask: Ask, signer: OwnSigner) -> None:
    """As after an old backup was restored together with the signer's folder."""
    more = MemoryLog(key_of(signer))
    more.add(*(f"entry {n}".encode() for n in range(3000)))
    outside.memories["court"].add(Growth(0, (), more.checkpoint()))
    with pytest.raises(NeedsPerson) as error:
        await ask("court")
    assert error.value.code == "witness.saw_more"
    assert metrics.LEDGER_REFUSED.values[more.key.name[-4:], "court", "saw_more"] == 1


async def test_a_witness_that_forgot_is_noticed_though_it_is_told_again(
    outside: Outside, ask: Ask, grow: Grow, signer: OwnSigner
) -> None:
    witnessing = await ask("court")
    kept = shutil.copytree(outside.folder / "court" / "seen", outside.folder / "old")
    before = outside.cosigned("court")
    await grow(5)
    await ask("court", by=witnessing)
    shutil.copytree(kept, outside.folder / "court" / "seen", dirs_exist_ok=True)  # an old copy, restored
    assert outside.cosigned("court") == before
    await grow(5)
    await ask("court", by=witnessing)
    assert outside.cosigned("court") == before + 10
    shard = parse_vkey(signer.memory.keys()[0]).name[-4:]
    assert metrics.LEDGER_REFUSED.values[shard, "court", "forgot"] == 1


async def test_a_witness_that_does_not_know_us_says_so_and_is_believed_later(
    outside: Outside, ask: Ask, grow: Grow, signer: OwnSigner
) -> None:
    outside.start("stranger", follows=[])
    with pytest.raises(NeedsPerson) as error:
        await ask("stranger")
    assert error.value.code == "witness.does_not_follow"
    log = parse_vkey(signer.memory.keys()[0])
    outside.memories["stranger"].follow(new_key(log.name).verifier)
    with pytest.raises(NeedsPerson) as error:
        await ask("stranger")
    assert error.value.code == "witness.does_not_trust"
    outside.memories["stranger"].follow(log)
    witnessing = await ask("stranger")
    assert witnessing._why["stranger", log.name[-4:]] == ""


ANSWERS = {
    "nothing": (200, b""),
    "no line": (200, b"thank you\n"),
    "too much": (200, b"x" * 100_000),
    "a size that is none": (409, b"many\n"),
    "an error": (500, b""),
    "elsewhere": (302, b""),
    "the same size again and again": (409, b"0\n"),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_what_is_no_cosignature_of_its_key_is_not_kept(
    outside: Outside, ask: Ask, grow: Grow, connect: Callable[[str], Database], what: str
) -> None:
    status, content = ANSWERS[what]

    async def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse(content, status, headers={"location": "http://127.0.0.1:9/"})

    outside.answer("court", answer)
    await grow(1)
    before = await served(connect)
    with pytest.raises(Unavailable):
        await ask("court")
    assert await served(connect) == before


async def test_a_packed_answer_is_not_unpacked(outside: Outside, ask: Ask, grow: Grow) -> None:
    """A few hundred bytes, packed twice, are as many megabytes as whoever packed them likes, in one piece."""
    packed = gzip.compress(gzip.compress(bytes(32 * 1024 * 1024)))
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        asked.append(request.headers["accept-encoding"])
        return Response(packed, headers={"content-encoding": "gzip, gzip"})

    outside.answer("court", answer)
    await grow(1)
    tracemalloc.start()
    try:
        with pytest.raises(Unavailable) as error:
            await ask("court")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(packed) < 1000
    assert most < 8 * 1024 * 1024
    assert error.value.code == "witness.answer_packed"
    assert asked == ["identity"]


async def test_another_witnesss_line_is_not_taken_for_this_ones(
    outside: Outside, ask: Ask, grow: Grow, connect: Callable[[str], Database]
) -> None:
    before = await served(connect)
    outside.urls["court"] = outside.urls["university"]
    with pytest.raises(Unavailable) as error:
        await ask("court")
    assert error.value.code == "witness.wrong_signature"
    assert await served(connect) == before


async def test_an_answer_that_was_lost_is_given_again(
    outside: Outside, ask: Ask, connect: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sequencer dies between the witness's answer and its own commit."""

    async def died(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("diwan.witnessing.keep_cosignature", died)
        with pytest.raises(KeyboardInterrupt):
            await ask("court")
    size = outside.cosigned("court")
    await ask("court")
    found = await served(connect)
    assert found.size == size
    assert "court.example/1" in found.note.decode()


@pytest.mark.parametrize(
    "statement",
    [
        "delete from ledger_cosigned where size = (select max(size) from ledger_cosigned)",
        "update ledger_cosigned set note = 'x'",
        "update ledger_cosigned set witnesses = '{}'",
        "update ledger_cosigned set size = size + 1",
        "truncate ledger_cosigned",
    ],
)
async def test_a_cosignature_is_not_lost_by_its_owner_either(
    outside: Outside, ask: Ask, grow: Grow, database: TestDatabase, statement: str
) -> None:
    await ask(*NAMES)
    with (
        psycopg.connect(database.url("postgres")) as connection,
        pytest.raises(psycopg.errors.IntegrityConstraintViolation),
    ):
        connection.execute(statement.encode())


@pytest.mark.parametrize("url", ["ftp://witness.example", "witness.example", "https://"])
def test_an_address_that_is_none_is_said_at_the_start(url: str) -> None:
    policy = parse_policy(f"witness court {witness('court.example/1').verifier} {url}\nquorum none\n".encode())
    nothing: Database = None  # type: ignore[assignment]
    with pytest.raises(InvalidInput, match="court"):
        Witnessing(nothing, httpx.AsyncClient(), policy, ORIGIN, lambda: 0.0)
