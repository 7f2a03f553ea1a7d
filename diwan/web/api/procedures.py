"""/v1/procedures: what is published, the schema of a procedure's form, and publishing."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from diwan.domain.actor import Actor
from diwan.domain.errors import InvalidInput, NotFound, UnsupportedMedia
from diwan.procedures.form import answers_schema
from diwan.procedures.lint import lint
from diwan.procedures.load import load_procedure
from diwan.store.procedures import Published, list_published, publish, published
from diwan.web.api.bodies import media_type, read_body
from diwan.web.api.callers import Analyst, Anyone
from diwan.web.api.strict_json import unprintable
from diwan.web.api.views import Page, ProcedureSummary, ProcedureView
from diwan.web.dependencies import Deps
from diwan.web.openapi import bodies

router = APIRouter(prefix="/v1/procedures", tags=["procedures"])

Version = Annotated[str, Query(max_length=30, description="the version published last where it is absent")]

YAML = "application/yaml"
_YAML_TYPES = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml")
_EXAMPLE = "schema: diwan.procedure/1\nname: direct-housing-aid\nversion: 1\n"


@router.get("", summary="Published procedures, by name, the newest version first")
async def list_(deps: Deps, actor: Anyone) -> Page[ProcedureSummary]:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await list_published(conn, actor.tenant)
    return Page(items=[ProcedureSummary(**_summary(one)) for one in found])


@router.get("/{name}", summary="A procedure as published")
async def show(deps: Deps, actor: Anyone, name: str, version: Version = "") -> ProcedureView:
    one = await _published(deps, actor, name, version)
    return ProcedureView(**_summary(one), body=one.text)


@router.get(
    "/{name}/schema",
    summary="JSON Schema (2020-12) of the answers that the procedure's form takes",
    response_class=Response,
    responses={200: {"content": {"application/schema+json": {"schema": {"type": "object"}}}}},
)
async def schema(deps: Deps, actor: Anyone, name: str, version: Version = "") -> Response:
    one = await _published(deps, actor, name, version)
    return JSONResponse(answers_schema(one.procedure), media_type="application/schema+json")


@router.post(
    "",
    summary="Publish a procedure file; new cases are opened under it from now on",
    status_code=201,
    responses={200: {"model": ProcedureView, "description": "The same text was published before."}},
    openapi_extra=bodies({YAML: {"schema": {"type": "string"}, "example": _EXAMPLE}}),
)
async def post(request: Request, deps: Deps, actor: Analyst, response: Response) -> ProcedureView:
    if media_type(request) not in _YAML_TYPES:
        raise UnsupportedMedia("http.media_type", "A procedure is published as YAML.", f"Send {YAML}.")
    text = _text(await read_body(request, deps.limits, deps.limits.json_bytes))
    # Reading compiles every guard: in a thread, and before a transaction is open. Both are kept for `publish`.
    await asyncio.to_thread(load_procedure, text)
    await asyncio.to_thread(lint, text)
    now = deps.clock()
    async with deps.db.transaction(actor.tenant) as conn:
        made = await publish(conn, actor.tenant, text, actor, now=now)
    response.status_code = 201 if made.published_at == now else 200
    response.headers["Location"] = f"/v1/procedures/{made.name}?version={made.version}"
    return ProcedureView(**_summary(made), body=made.text)


async def _published(deps: Deps, actor: Actor, name: str, version: str) -> Published:
    async with deps.db.transaction(actor.tenant) as conn:
        if not version:
            return await published(conn, actor.tenant, name)
        for one in await list_published(conn, actor.tenant):
            if (one.name, one.version) == (name, version):
                return one
    raise NotFound("procedure.version_unknown", "This version is not published.", "See /v1/procedures.")


def _summary(one: Published) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ProcedureSummary.model_fields}


def _text(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("procedure.not_utf8", "The file is not UTF-8.", "Save it as UTF-8.") from None
    if unprintable(text):
        raise InvalidInput("procedure.unprintable", "The file holds control characters.", "Remove them.")
    return text
