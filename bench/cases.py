"""Cases to measure with: the shipped procedure entered at its agent's step, dossiers of a chosen size. All invented.

Opened as intake opens them, sealed under the vault's keys; the text of the pages lies ready, as a first reading leaves
it, because reading PDFs is no part of a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from activities.readings import READ
from bench.engine import PAGES
from diwan.domain.actor import Actor, ActorKind, Role, system
from diwan.domain.event import APPLICATION_SUBMITTED, Application, DocumentRef, Envelope
from diwan.domain.facts import PageText
from diwan.domain.party import Party, PartyRole
from diwan.domain.ports import Keyring
from diwan.domain.text import Language
from diwan.embedded.bootstrap import SOURCE, demo_ministry
from diwan.procedures.examples import example_text
from diwan.store import documents, ministries, procedures
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.documents import NewDocument
from diwan.store.intake import accept_event

TENANT = "demo"
PROCEDURE = "direct-housing-aid"
PAGE_CHARACTERS = 2_000
_DOCUMENTS_AT_MOST = 50
STEP, VISIT = "examine", 1
_TO_REQUEST = "      - {when: (missing > 0 || unreadable > 0) && pieces_requested == 0, to: request_review}\n"
_LINE = "Le demandeur modèle atteste l'exactitude de cette pièce inventée. هذه وثيقة نموذجية لا تخص أحدا. "


@dataclass(frozen=True)
class Size:
    """`documents` of `pages` pages each, of 2 kB of text."""

    name: str
    documents: int
    pages: int


SIZES = {
    size.name: size
    for size in (
        Size("10 kB", 1, PAGES),
        Size("100 kB", 10, PAGES),
        Size("1 MB", _DOCUMENTS_AT_MOST, 2 * PAGES),
        Size("10 MB", _DOCUMENTS_AT_MOST, 20 * PAGES),
    )
}


def now() -> datetime:
    return datetime.now(UTC)


def bench_procedure() -> str:
    """The shipped example without its first letter: a case starts where the agent reads, and then waits for a clerk."""
    text = example_text(PROCEDURE)
    before, _, rest = text.partition("  receipt:\n")
    _, examine, after = rest.partition("  examine:\n")
    after = after.replace(_TO_REQUEST, "", 1)
    return before.replace("start: receipt", f"start: {STEP}") + examine + after


async def make_ministry(owner: Database, tenant: str = TENANT) -> None:
    """The invented ministry of the embedded stack, with the procedure above."""
    actor = system(tenant, "bench")
    ministry = demo_ministry(now()).model_copy(update={"tenant": tenant})
    async with owner.transaction(tenant) as conn:
        await ministries.apply_ministry(conn, ministry, actor, now=now())
        await procedures.publish(conn, tenant, bench_procedure(), actor, now=now())


def page_text(document: str, number: int) -> str:
    """2 kB in UTF-8, different on every page."""
    head = f"Pièce {document}, page {number}. "
    return (head + _LINE * 40).encode()[:PAGE_CHARACTERS].decode(errors="ignore")


@dataclass(frozen=True)
class Opener:
    """Opens cases as `web` and `worker` would, outside of what is measured."""

    web: Database
    worker: Database
    keyring: Keyring

    async def open(self, reference: str, size: Size, *, tenant: str = TENANT, received: datetime | None = None) -> str:
        """A new case with its dossier, as if it had come in at `received` (now); its id."""
        references = [DocumentRef(name=f"piece-{n}.txt", part=f"piece-{n}") for n in range(size.documents)]
        parts = [
            NewDocument(
                name=reference.name,
                data=(page_text(reference.name, 0) * size.pages).encode(),
                media_type="text/plain",
                pages=size.pages,
                flags=(READ,),
            )
            for reference in references
        ]
        envelope = Envelope(tenant=tenant, source=SOURCE, id=f"open-{reference}", type=APPLICATION_SUBMITTED)
        accepted = await accept_event(
            self.web,
            self.keyring,
            envelope,
            _application(reference, references),
            parts,
            client=_sender(tenant),
            now=received or now(),
        )
        assert accepted.case_id is not None
        ids = [taken.id for taken in accepted.documents]
        await self._store_pages(tenant, accepted.case_id, ids, size.pages)
        return accepted.case_id

    async def _store_pages(self, tenant: str, case: str, ids: list[str], pages: int) -> None:
        cipher = await self.keyring.cipher(tenant, case)
        async with self.worker.transaction(tenant) as conn, change_case(conn, tenant, case, now=now()) as change:
            for id_ in ids:
                read = [PageText(document=id_, page=n, text=page_text(id_, n)) for n in range(1, pages + 1)]
                await documents.store_pages(conn, tenant, case, read, cipher)
            change.record("case:pages:stored", system(tenant, "bench"))


def _sender(tenant: str) -> Actor:
    roles = frozenset({Role.INTAKE})
    return Actor(kind=ActorKind.SOURCE, subject="demo-intake", tenant=tenant, roles=roles, authentication="bench")


def _application(reference: str, documents_: list[DocumentRef]) -> Application:
    applicant = Party(
        role=PartyRole.APPLICANT, name="Zineb Exemplaire", identity_number="ZZ 100001", language=Language.FR
    )
    return Application(
        procedure=PROCEDURE,
        reference=reference,
        language=Language.FR,
        parties=[applicant],
        answers={
            "identity_number": "ZZ100001",
            "household": 3,
            "residence": "Salé",
            "price": 290_000,
            "rooms": 3,
            "permit_date": "2024-03-18",
            "notary": "Maître Modèle, Rabat",
            "bank_account": "001234567890123456789012",
        },
        documents=documents_,
    )
