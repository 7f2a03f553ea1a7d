"""Carries out what an agent asks for. All tools so far read; one that writes needs an approval and is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from activities.briefing import Brief
from activities.registers import Registers
from agents import tools
from agents.dossier import document_list, short_names
from agents.parse import RequestedCall
from diwan.domain.facts import PageText
from diwan.domain.fold import fold

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class ToolResult:
    """`value` is what the model gets; `effect` the class of the tool."""

    value: JsonValue
    ok: bool
    effect: str


class ToolDesk:
    """The tools over one case. What a tool reads of the case is read beforehand, in the transaction of the brief."""

    def __init__(self, brief: Brief, registers: Registers, clock: Clock) -> None:
        self._brief = brief
        self._registers = registers
        self._clock = clock

    def page_wanted(self, call: RequestedCall) -> tuple[str, int] | None:
        """The page (document's id, number from 1) that `carry_out` is to be given, where the call is for one."""
        if call.request.tool != tools.READ_PAGE.name:
            return None
        wanted = tools.PageArguments.model_validate(call.arguments)
        document = short_names(self._brief.documents).get(wanted.document)
        return (document.id, wanted.page) if document else None

    def asks_a_register(self, call: RequestedCall) -> bool:
        """Whether `carry_out` goes beyond the case, which may take long."""
        return call.request.tool == tools.EARLIER_AID.name

    async def carry_out(self, call: RequestedCall, page: PageText | None) -> ToolResult:
        """Never raises for what was asked; an error is a result that the model can act on."""
        tool = call.request.tool
        if tool == tools.LIST_DOCUMENTS.name:
            return _read(dict(document_list(self._brief.documents)))
        if tool == tools.READ_PAGE.name:
            return self._page(tools.PageArguments.model_validate(call.arguments), page)
        if tool == tools.EARLIER_AID.name:
            return await self._earlier_aid(tools.IdentityArguments.model_validate(call.arguments))
        return _read(tools.tool_error("unknown_tool"), ok=False)

    def _page(self, wanted: tools.PageArguments, page: PageText | None) -> ToolResult:
        document = short_names(self._brief.documents).get(wanted.document)
        pages = document.pages if document else 0
        return _read(dict(tools.page_result(wanted.document, wanted.page, page, pages=pages)))

    async def _earlier_aid(self, wanted: tools.IdentityArguments) -> ToolResult:
        brief = self._brief
        if not same_number(wanted.identity_number, brief.identity_number):
            # A document must not make an agent look up other people.
            return _read(tools.tool_error("not_of_this_case"), ok=True)
        found = await self._registers.earlier_aid(
            brief.tenant, brief.case, brief.procedure.name, wanted.identity_number
        )
        as_of = brief.calendar.day_of(self._clock()).isoformat()
        return _read(dict(tools.registry_result(found=found, register=tools.EARLIER_AID.name, as_of=as_of)))


def _read(value: JsonValue, *, ok: bool = True) -> ToolResult:
    return ToolResult(value, ok, tools.Effect.READ.value)


def same_number(one: str, other: str) -> bool:
    """Whether two identity numbers are the same, however they are written."""
    letters = [[char for char in fold(number) if char.isalnum()] for number in (one, other)]
    return letters[0] == letters[1] != []
