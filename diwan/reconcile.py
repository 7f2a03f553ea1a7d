"""Matches the three traces of a case: entries on the ledger, rows in Postgres, histories of its runs; names what has no
twin in the others.

Histories of runs that have ended are kept in Postgres; of those that go on Temporal has them, and is asked before the
snapshot is read: what a history has by then is committed, and so in the snapshot.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from diwan.domain.errors import NotFound, Tampered
from diwan.domain.ports import Cipher, Keyring, RetentionClass
from diwan.ledger.dossier_twins import compare_dossier
from diwan.ledger.erasure_twins import compare_erasures, compare_keys
from diwan.ledger.history import read_history
from diwan.ledger.receipt_twins import compare_receipts
from diwan.ledger.retrace import Retraced, retrace
from diwan.ledger.twins import Finding, Found, compare
from diwan.store.cases import get_case
from diwan.store.database import Database
from diwan.store.histories import RunRow, runs_of
from diwan.store.reconcile import cases_of, kept_histories, open_receipts, orphans, read_case
from diwan.store.sealing import is_destroyed
from diwan.store.signatures import compare_signatures

# A run that has just begun has done nothing yet, and is not known; one that has just ended is still to be kept.
_JUST_BEGUN, _KEPT_WITHIN = timedelta(minutes=2), timedelta(days=1)
_MOST_TOLD = 10_000
_NOT_LOOKED_FOR = "cases whose unknown runs were not looked for, or not all"
# What is said of entries and rows that belong to nothing (store/reconcile.py `orphans`), by the table that lacks a row,
# or has one too many.
_ORPHANS = {
    "task": "task.entry_missing",
    "letter": "receipt.row_missing",
    "scope_erasure": "scope_erasure.steps_differ",
}
_ORPHAN_TEXT = {
    "task": "a task without an entry",
    "letter": "the receipt of a letter that there is not",
    "scope_erasure": "its keys went by another number of steps than the ledger tells",
}


@dataclass
class Reconciled:
    """`findings` are at most 10,000; `by_name` counts all of them."""

    tenant: str
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    by_name: Counter[str] = field(default_factory=Counter[str])
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(self, found: Found) -> None:
        self.counts.update(found.counts)
        self.by_name.update(each.name for each in found.findings)
        self.findings += found.findings[: max(_MOST_TOLD - len(self.findings), 0)]


class _NoKeys:
    """The cipher of a case that the vault does not know: everything of it is as erased, and an entry has to say so."""

    def seal(self, retention: RetentionClass, context: str, plaintext: bytes) -> bytes:
        return self.open(retention, context, plaintext)

    def open(self, retention: RetentionClass, context: str, ciphertext: bytes) -> bytes:
        raise NotFound("vault.key_not_found", "There are no keys of this case.", "")


@dataclass(frozen=True)
class Reconciliation:
    """`db` connects as diwan_auditor. Without `keyring` kept histories stay closed, without `client` nothing is known
    of runs that go on: both are counted."""

    db: Database
    keyring: Keyring | None
    client: Client | None
    now: datetime

    async def of_case(self, tenant: str, key: str) -> Reconciled:
        """One case, by number or id. Raises `NotFound`."""
        async with self.db.transaction(tenant, snapshot=True) as conn:
            case = await get_case(conn, tenant, key)
        told = Reconciled(tenant, cases=1)
        told.add(await self._case(tenant, case.id))
        return told

    async def of_all(self, tenant: str) -> Reconciled:
        """All cases of a ministry, and what there is of cases that there are not."""
        told = Reconciled(tenant)
        async for case in self._cases(tenant):
            told.add(await self._case(tenant, case))
            told.cases += 1
        found = Found("")
        async with self.db.transaction(tenant, snapshot=True) as conn:
            async for chain, table in orphans(conn, tenant):
                found.find(
                    _ORPHANS.get(table, "case.row_missing"), chain, _ORPHAN_TEXT.get(table, "entries of nothing")
                )
        told.add(found)
        return told

    async def _cases(self, tenant: str) -> AsyncGenerator[str]:
        after = ""
        while True:
            async with self.db.transaction(tenant, snapshot=True) as conn:
                page = await cases_of(conn, tenant, after)
            for case in page:
                yield case
            if not page:
                return
            after = page[-1]

    async def _case(self, tenant: str, case_id: str) -> Found:
        cipher = await self._cipher(tenant, case_id)
        async with self.db.transaction(tenant, snapshot=True) as conn:
            upto = (await get_case(conn, tenant, case_id)).version
            runs = await runs_of(conn, tenant, case_id)
        of_temporal = Found(case_id)
        going_on = await self._going_on(runs, upto, of_temporal)
        unknown = await self._unknown(tenant, case_id, runs, of_temporal)
        async with self.db.transaction(tenant, snapshot=True) as conn:
            data = await read_case(conn, tenant, case_id)
            found = compare(data)
            compare_dossier(data, found)
            compare_receipts(data, found)
            compare_erasures(data, found)
            if cipher is None:
                found.counts["cases whose keys the vault was not asked about"] += 1
            else:
                compare_keys(data, {each for each in RetentionClass if is_destroyed(cipher, each)}, found)
            await open_receipts(conn, tenant, data, cipher, found)
            await compare_signatures(conn, tenant, data, cipher, found)
            kept = await kept_histories(conn, tenant, data, cipher, found)
        by_now = {row["run_id"] for row in data.rows["workflow_run"]}
        for run_id in unknown - by_now:
            found.find("workflow_run.row_missing", run_id, "Temporal has this run, and it did something")
        there = {each.run_id for each in kept}
        retrace(data, [*kept, *(each for each in going_on if each.run_id not in there)], found)
        found.findings += of_temporal.findings
        found.counts.update(of_temporal.counts)
        return found

    async def _cipher(self, tenant: str, case_id: str) -> Cipher | None:
        """None where the vault is not at hand."""
        try:
            return None if self.keyring is None else await self.keyring.cipher(tenant, case_id)
        except NotFound:
            return _NoKeys()

    async def _going_on(self, runs: Sequence[RunRow], upto: int, found: Found) -> list[Retraced]:
        """Histories of runs that are not kept yet, as Temporal has them."""
        read: list[Retraced] = []
        for run in runs:
            if run.state != "open":
                continue
            if self.client is None:
                found.counts["runs not compared: Temporal was not asked"] += 1
                continue
            handle = self.client.get_workflow_handle(run.workflow_id, run_id=run.run_id)
            try:
                seen, fetched = await handle.describe(), await handle.fetch_history()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    found.counts["runs not compared: Temporal did not answer"] += 1
                else:
                    found.find("history.missing", run.run_id, "neither kept nor in Temporal")
                continue
            running = seen.status is WorkflowExecutionStatus.RUNNING
            found.counts["runs that go on" if running else "histories still to be kept"] += 1
            if not running and seen.close_time is not None and self.now - seen.close_time > _KEPT_WITHIN:
                found.find("history.not_kept", run.run_id, f"it ended at {seen.close_time:%Y-%m-%d %H:%M}Z")
            try:
                content = json.dumps(fetched.to_json_dict()).encode()
                read.append(Retraced(run.run_id, run.workflow_id, read_history(content, run.workflow_id), upto))
            except Tampered as error:
                found.find(error.code, run.run_id, error.message)
        return read

    async def _unknown(self, tenant: str, case_id: str, runs: Sequence[RunRow], found: Found) -> set[str]:
        """Runs of the case that Temporal has and Postgres does not know, and that did something."""
        unknown: set[str] = set()
        if self.client is None:
            found.counts[_NOT_LOOKED_FOR] += 1
            return unknown
        known, of_case = {run.run_id for run in runs}, f"{tenant}/{case_id}"
        query = f"WorkflowId = '{of_case}' OR WorkflowId STARTS_WITH '{of_case}/'"
        try:
            async for run in self.client.list_workflows(query):
                if run.run_id in known or self.now - run.start_time < _JUST_BEGUN:
                    continue
                if await self._did_something(self.client, run.id, run.run_id, found):
                    unknown.add(run.run_id)
        except RPCError:
            found.counts[_NOT_LOOKED_FOR] += 1
        return unknown

    async def _did_something(self, client: Client, workflow_id: str, run_id: str, found: Found) -> bool:
        """False also where its history cannot be read, which is found. Raises `RPCError` where Temporal is silent."""
        try:
            fetched = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
            return bool(read_history(json.dumps(fetched.to_json_dict()).encode(), workflow_id).activities)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            found.counts["unknown runs that were deleted meanwhile"] += 1
        except Tampered as error:
            found.find(error.code, run_id, error.message)
        return False
