"""The hosts of the pool: no ministry's, for a GPU serves all of them, and a row says nothing of any."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, PrimaryKeyConstraint, Table

from diwan.store.tables.columns import instant, metadata, text

pool_host = Table(
    "pool_host",
    metadata,
    text("host"),
    text("model"),
    text("version", default=""),
    text("state"),
    text("reason", default=""),
    Column("room", Integer, nullable=False),
    Column("most", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("kv_used", Double, nullable=False),
    Column("prefix_queries", BigInteger, nullable=False),
    Column("prefix_hits", BigInteger, nullable=False),
    text("weights_digest", default=""),
    text("tokenizer_digest", default=""),
    text("batch_invariant", default="unknown"),
    Column("clock_off_s", Double, nullable=False, server_default="0"),
    instant("since"),
    instant("seen_at"),
    PrimaryKeyConstraint("host"),
)  # state: serving | out (reason: health.py) | ended; calls: ours that run; running, waiting: the engine's, of whoever
# asks it; prefix_*: tokens since the engine started; *_digest: as its model is registered there; batch_invariant: yes |
# no | unknown, whether that mode is on; clock_off_s: how far its own clock is ahead of this one; since: when it came to
# this state; seen_at: the last sign of life
