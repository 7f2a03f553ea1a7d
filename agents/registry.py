"""The agents there are. A procedure's step names one."""

from __future__ import annotations

from agents.examiner import EXAMINER
from agents.spec import AgentSpec
from diwan.domain.errors import NotFound

_SPECS = {EXAMINER.name: EXAMINER}


def agent_names() -> frozenset[str]:
    return frozenset(_SPECS)


def spec_of(name: str) -> AgentSpec:
    """Raises `NotFound` for an agent that this version does not have."""
    spec = _SPECS.get(name)
    if spec is None:
        raise NotFound("agent.unknown", "There is no agent of this name.", "Name one that this version has.")
    return spec
