"""The bundle of a case of so many steps: made as the service makes it, verified by the program that lies in it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import text

from bench.cases import TENANT
from bench.ledger.client import Task, with_entry
from bench.ledger.growth import ORIGIN, OwnSigner
from diwan.domain.errors import Final
from diwan.domain.ports import Keyring
from diwan.domain.text import Language
from diwan.sequencer import Sequencer
from diwan.standalone import verify_bundle
from diwan.store.bundles import case_file
from diwan.store.change import SELECT_CASE, case_row
from diwan.store.database import Database
from diwan.web.api.bundles import packed

STEPS = 200
_TIMES = 5
_CASE = text(f"{SELECT_CASE} WHERE tenant = :tenant AND id = :id")


@dataclass(frozen=True)
class Bundled:
    """Seconds, medians; `verified_s` is a process of its own, begun and ended."""

    entries: int
    bytes: int
    made_s: float
    verified_s: float


async def measure(
    worker: Database, reader: Database, sequencers: Database, keyring: Keyring, folder: Path, case: str
) -> Bundled:
    """`case` is one that was just opened; its keys are the vault's."""
    cipher = await keyring.cipher(TENANT, case)
    task = Task(url="", ledger=True, tenant=TENANT, cases=[case], clients=1, seconds=0)
    for number in range(STEPS):
        await with_entry(worker, task, case, cipher, number)
    signer = OwnSigner(folder / "bundled")
    sequencer = Sequencer(sequencers, signer, ORIGIN)
    while await sequencer.grow_once():
        pass
    await sequencer.publish_once()
    (vkey,) = signer.memory.keys()
    signer.memory.close()
    made: list[float] = []
    content, entries = b"", 0
    for _ in range(_TIMES):
        began = time.monotonic()
        async with reader.transaction(TENANT, snapshot=True) as conn:
            row = (await conn.execute(_CASE, {"tenant": TENANT, "id": case})).mappings().one()
            file = await case_file(conn, case_row(row))
        content = packed(file, cipher, {"made_by": "bench", "language": "en"}, {}, Language.EN)
        made.append(time.monotonic() - began)
        entries = len(file.rows)
    bundle, policy = folder / "case.zip", folder / "policy"
    bundle.write_bytes(content)
    policy.write_text(f"log {vkey}\nquorum none\n")
    return Bundled(entries, len(content), median(made), median(_verified(bundle, policy) for _ in range(_TIMES)))


def _verified(bundle: Path, policy: Path) -> float:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, verify_bundle.__file__, bundle, policy], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Final("bench.does_not_verify", f"The bundle does not verify: {done.stdout}{done.stderr}")
    return time.monotonic() - began
