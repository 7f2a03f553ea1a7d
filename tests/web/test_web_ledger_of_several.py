"""Entries of several ministries in one log: hashes for everybody, bundles for none whose they are not alone."""

from __future__ import annotations

from pathlib import Path

from diwan.domain.actor import Role
from tests.support.databases import TestDatabase
from tests.support.factories import person
from tests.support.growing import growing
from tests.web.conftest import Service

AUDITOR = person("auditor-1", Role.AUDITOR)
OTHER = person("auditor-2", Role.AUDITOR, tenant="another")


async def test_a_bundle_with_entries_of_another_ministry_is_given_to_neither(
    service: Service, settled: TestDatabase, tmp_path: Path
):
    async with growing(settled, tmp_path / "signer") as log:
        for count, tenant in ((256, "demo"), (100, "another"), (200, "demo")):
            await log.grow(count, tenant)
    assert (await service.get("/ledger/tile/entries/000", AUDITOR)).status_code == 200
    for actor, bundle in ((AUDITOR, "001"), (OTHER, "001"), (OTHER, "000")):
        answer = await service.get(f"/ledger/tile/entries/{bundle}", actor)
        assert (answer.status_code, answer.json()["code"]) == (403, "ledger.of_others")
    assert (await service.http.get("/ledger/tile/0/001")).status_code == 200, "hashes say nothing of whose they are"
