"""An issuer, a clock and the verifier of tokens between them."""

from __future__ import annotations

import pytest

from diwan.web.auth import TokenVerifier
from tests.web.auth.tokens import ISSUER, NOW, Issuer
from tests.web.conftest import Clock


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> TokenVerifier:
    return TokenVerifier(ISSUER, "diwan", issuer.fetch, clock=clock)
