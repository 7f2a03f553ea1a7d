"""The agent loop as one pure function: what was answered so far → what to do next.

    tools phase    CallModel(final=False) → CallTools → … until the model stops asking, or a budget runs low
    final call     CallModel(final=True): typed output, no tool may be called → Finish
    anything else  a bounded number of retries, then GiveUp(reason): a person takes over

`Turn` is all that a workflow's history sees of a model call: kinds and counts, no text, no personal data.
Not even a digest of arguments: that of an identity number can be guessed back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from agents.spec import AgentSpec


class TurnKind(StrEnum):
    """What one model call came to."""

    TOOLS = "tools"  # it asks for tools
    ANSWER = "answer"  # before the final call: it has read enough; on the final call: a valid typed answer
    JUNK = "junk"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    EMPTY = "empty"
    ENDLESS = "endless"  # longer, or slower, than any answer may be


class Reason(StrEnum):
    """Why a run gave up; ends in the proposal's warnings as `agent_failed.<reason>`."""

    JUNK = "junk"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    EMPTY = "empty"
    ENDLESS = "endless"
    BUDGET = "budget"
    TOOL_FAILED = "tool_failed"
    ENGINE_UNAVAILABLE = "engine_unavailable"  # said by the workflow: no engine answered at all


class ToolRequest(BaseModel):
    """The tool call at `position` (0-based) of an answer. Its arguments stay in Postgres.

    `tool` is empty where the model named one that does not exist; `problem` says why a request is not carried
    out: unknown_tool, bad_arguments, too_many.
    """

    model_config = ConfigDict(frozen=True)

    position: int = Field(ge=0)
    tool: str
    problem: str = ""


class Turn(BaseModel):
    """One model call, as it ended. `why` is a machine name; `results` say whether each runnable tool worked.

    `host` names the one whose engine gave it, and holds in its prefix cache what the next call begins with; empty where
    that is not known. `waited_s`: seconds in the queue before a host took it, which are not the run's own.
    """

    model_config = ConfigDict(frozen=True)

    kind: TurnKind
    final: bool
    why: str = ""
    requests: tuple[ToolRequest, ...] = ()
    results: tuple[bool, ...] | None = None
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    host: str = Field(default="", exclude_if=lambda host: not host)
    waited_s: float = Field(default=0.0, ge=0, exclude_if=lambda waited: not waited)

    @property
    def runnable(self) -> tuple[ToolRequest, ...]:
        return tuple(request for request in self.requests if not request.problem)

    @property
    def useless(self) -> bool:
        """It counts against the retries."""
        if self.kind is TurnKind.TOOLS:
            return len(self.runnable) < len(self.requests)
        return self.kind is not TurnKind.ANSWER

    def with_results(self, results: Sequence[bool]) -> Turn:
        """The same turn once its `runnable` tools were carried out, in that order."""
        return self.model_copy(update={"results": tuple(results)})


@dataclass(frozen=True)
class CallModel:
    final: bool


@dataclass(frozen=True)
class CallTools:
    """Carry out these requests of the last turn, then put `turn.with_results(…)` in its place."""

    requests: tuple[ToolRequest, ...]


@dataclass(frozen=True)
class Finish:
    """The last turn holds a valid typed answer."""


@dataclass(frozen=True)
class GiveUp:
    reason: Reason


Move = CallModel | CallTools | Finish | GiveUp


def next_move(spec: AgentSpec, turns: Sequence[Turn], *, elapsed_s: float) -> Move:
    """What to do after `turns` (one per model call, oldest first). Total: any sequence of turns has a next move.

    At most `budgets.calls` model calls and as many `CallTools` come before `Finish` or `GiveUp`.
    """
    if not turns:
        return CallModel(final=not spec.tools)
    last = turns[-1]
    if last.final and last.kind is TurnKind.ANSWER:
        return Finish()
    if (reason := _exhausted(spec, turns, elapsed_s)) is not None:
        return GiveUp(reason)
    if last.kind is TurnKind.TOOLS and not last.final and last.results is None and last.runnable:
        return CallTools(last.runnable)
    return CallModel(final=last.final or last.kind is TurnKind.ANSWER or _running_low(spec, turns, elapsed_s))


def _exhausted(spec: AgentSpec, turns: Sequence[Turn], elapsed_s: float) -> Reason | None:
    budgets = spec.budgets
    if sum(turn.useless for turn in turns) > budgets.retries:
        return _reason_of(next(turn for turn in reversed(turns) if turn.useless))
    if sum((turn.results or ()).count(False) for turn in turns) > budgets.tool_failures:
        return Reason.TOOL_FAILED
    if len(turns) >= budgets.calls or elapsed_s >= budgets.seconds or _tokens(turns) >= budgets.tokens:
        return Reason.BUDGET
    return None


def _reason_of(turn: Turn) -> Reason:
    return Reason.JUNK if turn.kind is TurnKind.TOOLS else Reason(turn.kind.value)


def _running_low(spec: AgentSpec, turns: Sequence[Turn], elapsed_s: float) -> bool:
    """Time to answer with what was read: enough must be left for the final call and its retries."""
    budgets = spec.budgets
    forgiven = budgets.retries - sum(turn.useless for turn in turns)
    return (
        len(turns) + 1 + forgiven >= budgets.calls
        or elapsed_s >= 0.7 * budgets.seconds
        or _tokens(turns) + 2 * _tokens(turns[-1:]) >= budgets.tokens
    )


def _tokens(turns: Sequence[Turn]) -> int:
    return sum(turn.prompt_tokens + turn.completion_tokens for turn in turns)
