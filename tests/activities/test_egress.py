"""A dossier goes to no model that may not be shown it, and out of the perimeter only where the ministry says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from diwan.domain.data import DataClass
from diwan.domain.errors import Refused
from diwan.domain.tenant import OutsideEngine
from diwan.pool.perimeter import Perimeter, Way
from diwan.store.database import Database
from diwan.store.tenants import put_tenant
from tests.activities.conftest import SETTINGS
from tests.activities.office import Office, Wire
from tests.support.factories import TENANT

FAR = "https://far.example"
OUT = Way(Perimeter(), outside=FAR)


async def declare(office: Office, *named: tuple[str, DataClass]) -> None:
    policy = tuple(OutsideEngine(address=address, data_classes=frozenset({shown})) for address, shown in named)
    settings = SETTINGS.model_copy(update={"outside_engines": policy})
    owner = Database.connect(office.database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    async with owner.transaction(TENANT) as conn:
        await put_tenant(conn, TENANT, settings.model_dump(mode="json"))
    await owner.dispose()


@pytest.fixture(autouse=True)
async def no_policy(office: Office) -> AsyncGenerator[None]:
    yield
    await declare(office)


async def refused(office: Office, reference: str, way: Way, **registered: object) -> str:
    """The code of the refusal; nothing was sent, and no attempt is on record."""
    step, run = await office.examining(reference)
    wire = Wire(None)
    async with office.engine(wire, way=way, **registered) as model:
        with pytest.raises(Refused) as raised:
            await office.ask(model, step, run, 1, final=False)
    assert wire.sent == []
    assert office.stored("select count(*) from model_call where run_id = %s", run.run) == [(0,)]
    return raised.value.code


async def test_an_engine_outside_is_not_asked_where_the_ministry_says_nothing(office: Office) -> None:
    assert await refused(office, "no-policy", OUT) == "engine.outside_perimeter"


async def test_nor_where_it_names_another_engine_or_another_class_of_data(office: Office) -> None:
    await declare(office, (f"{FAR}:8443", DataClass.PERSONAL), (FAR, DataClass.PUBLIC))
    assert await refused(office, "other-policy", OUT) == "engine.outside_perimeter"


async def test_it_is_asked_where_the_ministry_names_it_for_this_class_and_no_longer(office: Office) -> None:
    await declare(office, (FAR, DataClass.PUBLIC), (FAR, DataClass.PERSONAL))
    step, run = await office.examining("policy")
    wire = Wire(None)
    async with office.engine(wire, way=OUT) as model:
        await office.ask(model, step, run, 1, final=False)
        assert len(wire.sent) == 1
        await declare(office)
        with pytest.raises(Refused):
            await office.ask(model, step, run, 2, final=False)
    assert len(wire.sent) == 1


async def test_a_model_is_not_shown_what_it_may_not_see(office: Office) -> None:
    seen = frozenset({DataClass.PUBLIC, DataClass.SENSITIVE})
    inside = Way(Perimeter())
    assert await refused(office, "other-class", inside, data_classes=seen) == "engine.data_class"
