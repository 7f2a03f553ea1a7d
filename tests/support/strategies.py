"""What hypothesis draws for several tests."""

from __future__ import annotations

from hypothesis import strategies as st


def json_of(
    scalars: st.SearchStrategy[object], keys: st.SearchStrategy[str], *, wide: int = 4, leaves: int = 12
) -> st.SearchStrategy[object]:
    """Nothing, yes and no, these scalars, and lists and objects of them: up to `wide` items each, `leaves` in all."""
    return st.recursive(
        st.none() | st.booleans() | scalars,
        lambda inner: st.lists(inner, max_size=wide) | st.dictionaries(keys, inner, max_size=wide),
        max_leaves=leaves,
    )
