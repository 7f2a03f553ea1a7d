"""/ledger: the log in the formats of c2sp.org/tlog-tiles, for anybody with any tool: checkpoints, tiles, entries.

Hashes and checkpoints are public. Entries, though they hold no personal data, say what a ministry does and when: they
want an auditor's token, and a bundle with entries of another ministry is given to none.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from diwan.domain.actor import Actor
from diwan.domain.errors import InvalidInput, NotFound, Refused
from diwan.ledger.tiles import ENTRIES, Tile, bundle, of_size, parse_path
from diwan.store.connection import Connection
from diwan.store.ledger_cosigned import newest, witnessed
from diwan.store.ledger_tree import headers_of, published, tiles
from diwan.web.api import reads
from diwan.web.api.callers import Auditor
from diwan.web.api.reads import Reading, Reads
from diwan.web.dependencies import Dependencies, Deps

router = APIRouter(prefix="/ledger", tags=["ledger"])

_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_NOT_KEPT = {"cache-control": "no-cache"}
_HASH = 32
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
_NOTE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/checkpoint", summary="The newest checkpoint", response_class=Response, responses=_NOTE)
async def newest_of_all(deps: Deps) -> Response:
    return await _checkpoint(deps, "")


@router.get("/{shard}/checkpoint", summary="A year's newest checkpoint", response_class=Response, responses=_NOTE)
async def of_shard(deps: Deps, shard: str) -> Response:
    return await _checkpoint(deps, shard)


@router.get("/witnessed", summary="The newest that witnesses cosigned", response_class=Response, responses=_NOTE)
async def witnessed_of_all(deps: Deps) -> Response:
    return await _checkpoint(deps, "", cosigned=True)


@router.get("/{shard}/witnessed", summary="A year's newest cosigned", response_class=Response, responses=_NOTE)
async def witnessed_of_shard(deps: Deps, shard: str) -> Response:
    return await _checkpoint(deps, shard, cosigned=True)


@router.get("/tile/entries/{path:path}", summary="Entries of the newest log", response_class=Response, responses=_BYTES)
async def entries(deps: Deps, actor: Auditor, reading: Reading, path: str) -> Response:
    return await _entries(reading, actor, "", path)


@router.get("/{shard}/tile/entries/{path:path}", summary="Entries of a year", response_class=Response, responses=_BYTES)
async def entries_of_shard(deps: Deps, actor: Auditor, reading: Reading, shard: str, path: str) -> Response:
    return await _entries(reading, actor, shard, path)


@router.get("/tile/{path:path}", summary="A tile of the newest log", response_class=Response, responses=_BYTES)
async def tile(deps: Deps, path: str) -> Response:
    return await _tile(deps, "", path)


@router.get("/{shard}/tile/{path:path}", summary="A tile of a year's log", response_class=Response, responses=_BYTES)
async def tile_of_shard(deps: Deps, shard: str, path: str) -> Response:
    return await _tile(deps, shard, path)


async def _checkpoint(deps: Dependencies, shard: str, *, cosigned: bool = False) -> Response:
    """The last one, with the cosignatures that it has by now; or, of the last hour, the one that has most of them."""
    async with deps.db.transaction(None) as conn:
        found = await (witnessed if cosigned else newest)(conn, shard)
    if found is None:
        raise _none()
    return Response(found.note, media_type="text/plain; charset=utf-8", headers=_NOT_KEPT)


async def _tile(deps: Dependencies, shard: str, path: str) -> Response:
    wanted = _parsed(f"tile/{path}")
    if wanted.level == ENTRIES:
        raise _none()
    async with deps.db.transaction(None) as conn:
        name = await _shard(conn, shard, wanted)
        found = (await tiles(conn, name, [wanted.full])).get(wanted.full, b"")
    # Under an address without its year another log stands in January.
    kept = _FOREVER if shard else _NOT_KEPT
    return Response(found[: wanted.width * _HASH], media_type="application/octet-stream", headers=kept)


async def _entries(reading: Reads, actor: Actor, shard: str, path: str) -> Response:
    wanted = _parsed(f"tile/entries/{path}")
    async with reading.deps.db.transaction(actor.tenant) as conn:
        name = await _shard(conn, shard, wanted)
        headers = await headers_of(conn, name, wanted)
        if len(headers) < wanted.width:
            raise Refused(
                "ledger.of_others",
                "This bundle has entries of another ministry.",
                "Prove your own entries one by one: `diwan ledger prove`.",
            )
        await reading.record(conn, actor, reads.ENTRIES, log=name, tile=wanted.path)
    return Response(bundle(headers), media_type="application/octet-stream", headers={"cache-control": "private"})


async def _shard(conn: Connection, shard: str, wanted: Tile) -> str:
    """The shard, whose last checkpoint has this tile at this width or wider: what is not signed is not handed out."""
    found = await published(conn, shard)
    try:
        if found is not None and of_size(wanted, found.size).width >= wanted.width:
            return found.shard
    except ValueError:
        pass
    raise _none()


def _parsed(path: str) -> Tile:
    """What is no path names nothing: as tlog clients expect, it is not found."""
    try:
        found = parse_path(path)
    except InvalidInput:
        raise _none() from None
    return found


def _none() -> NotFound:
    return NotFound("ledger.not_there", "The log has nothing there.", "See c2sp.org/tlog-tiles for what a log serves.")
