"""/ledger, as a client of tlog-tiles sees it: a whole log fetched, its root recomputed, and what is given to nobody."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from diwan.domain.actor import Role
from diwan.ledger.checkpoint import open_checkpoint
from diwan.ledger.entry import check_header, entry_hash
from diwan.ledger.note import parse_note, parse_vkey
from diwan.ledger.tiles import ENTRIES, Tile, TiledTree, entries_in, grown
from diwan.ledger.tree import root_at
from tests.support.databases import TestDatabase
from tests.support.factories import CLERK, person
from tests.support.growing import Grower, growing
from tests.web.conftest import Service

AUDITOR = person("auditor-1", Role.AUDITOR)


@pytest.fixture(scope="module")
async def log(settled: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(settled, tmp_path_factory.mktemp("signer")) as made:
        await made.grow(300)
        yield made


async def test_a_whole_log_is_fetched_and_its_root_is_the_signed_one(service: Service, log: Grower):
    answer = await service.http.get("/ledger/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    (vkey,) = log.memory.keys()
    said = open_checkpoint(parse_note(answer.content), parse_vkey(vkey))
    year = said.origin.rpartition("/")[2]
    for prefix in ("/ledger", f"/ledger/{year}"):
        assert (await service.http.get(f"{prefix}/checkpoint")).content == answer.content
        fetched: dict[Tile, bytes] = {}
        for tile in grown(0, said.size):
            got = await service.http.get(f"{prefix}/{tile.path}")
            assert (got.status_code, got.headers["content-type"]) == (200, "application/octet-stream")
            assert ("immutable" in got.headers["cache-control"]) == (prefix != "/ledger")
            fetched[tile] = got.content
        assert root_at(said.size, TiledTree(said.size, fetched.__getitem__).node) == said.root
        leaves: list[bytes] = []
        for tile in [tile for tile in fetched if tile.level == 0]:
            bundle = Tile(ENTRIES, tile.index, tile.width)
            got = await service.get(f"{prefix}/{bundle.path}", AUDITOR)
            entries = entries_in(got.content, bundle)
            for entry in entries:
                check_header(entry)
            leaves += map(entry_hash, entries)
        assert b"".join(leaves) == b"".join(fetched[tile] for tile in fetched if tile.level == 0)


async def test_an_older_and_narrower_tile_is_still_served(service: Service, log: Grower):
    whole = (await service.http.get("/ledger/tile/0/000")).content
    assert (await service.http.get("/ledger/tile/0/000.p/7")).content == whole[: 7 * 32]


@pytest.mark.parametrize(
    "path",
    [
        *("tile/0/009", "tile/0/001.p/255", "tile/3/000.p/1", "tile/0/000.p/0", "tile/0/0", "tile/9/000", "tile/x"),
        *("1999/checkpoint", "1999/tile/0/000", "log/checkpoint", "tile/", "2026"),
    ],
)
async def test_what_the_log_has_not_is_not_found(service: Service, log: Grower, path: str):
    answer = await service.http.get(f"/ledger/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_entries_are_for_auditors(service: Service, log: Grower):
    path = "/ledger/tile/entries/000"
    assert (await service.http.get(path)).status_code == 401
    assert (await service.get(path, CLERK)).status_code == 403
    assert (await service.get(path, AUDITOR)).status_code == 200
    for missing in ("009", "000.p/0", "nothing"):
        assert (await service.get(f"/ledger/tile/entries/{missing}", AUDITOR)).status_code == 404
