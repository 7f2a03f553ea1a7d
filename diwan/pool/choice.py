"""Which models may serve a procedure: the first of a capability, and those that passed the procedure's golden set.

A model that reads other dossiers well says nothing of these. So another than the first serves only where the procedure
names the golden set by which it is judged, and the registry records that the model passed exactly that one.
"""

from __future__ import annotations

from collections.abc import Set

from diwan.domain.text import Language
from diwan.pool.registry import Ability, GoldenSet, Model, Registry
from diwan.procedures.schema import Procedure

# What an agent's run needs: it asks for tools, and ends with an answer inside a schema.
AGENT_NEEDS = frozenset({Ability.TOOLS, Ability.JSON_SCHEMA})


def may_serve(
    registry: Registry,
    procedure: Procedure,
    capability: str,
    *,
    needs: Set[Ability] = AGENT_NEEDS,
    language: Language | None = None,
) -> tuple[Model, ...]:
    """The models that may read a dossier of `procedure`, best first; none: people read it.

    Each has what is needed and may see data of the procedure's class. `language`: that of the instructions; a model
    that does not know it is passed over, where it is given.
    """
    listed = registry.capabilities.get(capability, ())
    return tuple(
        model
        for place, model in enumerate(registry.model(name) for name in listed)
        if needs <= model.abilities
        and procedure.models.data_class in model.data_classes
        and (language is None or language in model.languages)
        and (place == 0 or _passed(model, procedure))
    )


def _passed(model: Model, procedure: Procedure) -> bool:
    wanted = procedure.models.golden_set
    return wanted is not None and GoldenSet(procedure=procedure.name, digest=wanted) in model.passed
