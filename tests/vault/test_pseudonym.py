"""Pseudonyms are stored, so their computation may never change; what travels is bound to tenant and purpose."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from diwan.vault import pseudonym

KEY = bytes(range(32))


def test_the_computation_is_the_one_of_the_stored_pseudonyms() -> None:
    digest = pseudonym.digest_of("demo", "party.name", "fatima zahra")
    assert digest.hex() == "b584a0a109b257a032760cfe95bf90137f95b2ebe050d82b1e6af8815fc9c315"
    assert (
        pseudonym.token_of(KEY, "party.name", digest)
        == "85316f9a9fc8accef286a9d546b99c964d8315f9a1a2a6a1a1af550a91383b10"
    )
    framed = b"\0\0\0\2" + b"\0\0\0\x0fdiwan.pseudonym" + b"\0\0\0\x0aparty.name"
    assert pseudonym.token_of(KEY, "party.name", digest) == hmac.new(KEY, framed + digest, hashlib.sha256).hexdigest()


@given(one=st.tuples(st.text(), st.text(), st.text()), other=st.tuples(st.text(), st.text(), st.text()))
def test_what_travels_says_nothing_across_tenants_purposes_and_values(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert (pseudonym.digest_of(*one) == pseudonym.digest_of(*other)) == (one == other)


def test_equal_values_of_two_tenants_or_purposes_do_not_travel_alike() -> None:
    values = [("demo", "party.name"), ("other", "party.name"), ("demo", "party.identity")]
    assert len({pseudonym.digest_of(tenant, purpose, "x") for tenant, purpose in values}) == 3
