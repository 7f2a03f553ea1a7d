"""Whether a model may be shown a dossier at all: by the class of its data, and by where the engine is."""

from __future__ import annotations

from diwan.domain.data import DataClass
from diwan.domain.errors import Refused
from diwan.pool.registry import Model
from diwan.procedures.schema import Procedure
from diwan.store.connection import Connection
from diwan.store.tenants import outside_engines


async def check_egress(conn: Connection, tenant: str, procedure: Procedure, model: Model, outside: str) -> None:
    """Looked at before each request is made; `outside` is the engine's address where it is outside the perimeter.

    Raises `Refused`: people read the dossier then.
    """
    shown = procedure.models.data_class
    if shown not in model.data_classes:
        raise Refused(
            "engine.data_class", f"This model may not be shown {shown.value} data.", "Look at the registry of models."
        )
    if outside and shown not in await _allowed(conn, tenant, outside):
        raise Refused(
            "engine.outside_perimeter",
            f"The ministry's policy does not name this engine, outside the perimeter, for {shown.value} data.",
            "Use an engine inside; or have the ministry name it under outside_engines (docs/operations.md).",
        )


async def _allowed(conn: Connection, tenant: str, outside: str) -> frozenset[DataClass]:
    named = [each.data_classes for each in await outside_engines(conn, tenant) if each.address == outside]
    return frozenset[DataClass]().union(*named)
