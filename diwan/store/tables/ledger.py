"""The ledger's tree. Hashes, checkpoints and shards are no ministry's: the tree is one for the whole service."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY

from diwan.store.tables.columns import instant, metadata, text

ledger_pending = Table(
    "ledger_pending",
    metadata,
    text("tenant"),
    text("chain"),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    instant("added_at"),
    PrimaryKeyConstraint("tenant", "chain", "seq"),
)  # entries without a place yet, written by a trigger of `entry`

ledger_shard = Table(
    "ledger_shard",
    metadata,
    text("name"),
    text("origin"),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    instant("opened_at"),
    PrimaryKeyConstraint("name"),
    UniqueConstraint("origin"),
)  # name: the year; size, root: of the tree as it stands, signed or not

ledger_leaf = Table(
    "ledger_leaf",
    metadata,
    text("shard"),
    Column("idx", BigInteger, nullable=False),
    text("tenant"),
    text("chain"),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    instant("added_at"),
    instant("placed_at"),
    PrimaryKeyConstraint("shard", "idx"),
    UniqueConstraint("tenant", "chain", "seq"),
    ForeignKeyConstraint(["shard"], ["ledger_shard.name"]),
)  # idx: from 0; added_at: when its entry was written, placed_at: when it got its place

ledger_tile = Table(
    "ledger_tile",
    metadata,
    text("shard"),
    Column("level", SmallInteger, nullable=False),
    Column("idx", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("shard", "level", "idx"),
    ForeignKeyConstraint(["shard"], ["ledger_shard.name"]),
)  # hashes: as wide as it is now; ledger/tiles.py says of what

ledger_checkpoint = Table(
    "ledger_checkpoint",
    metadata,
    text("shard"),
    instant("hour"),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False),
    instant("published_at"),
    PrimaryKeyConstraint("shard", "hour"),
    ForeignKeyConstraint(["shard"], ["ledger_shard.name"]),
)  # the last of each hour; note: signed, as handed out

ledger_index = Table(
    "ledger_index",
    metadata,
    text("tenant"),
    text("shard"),
    Column("idx", BigInteger, nullable=False),
    text("chain"),
    Column("seq", BigInteger, nullable=False),
    instant("at"),
    text("kind"),
    text("actor"),
    text("case_of"),
    text("tool"),
    text("model"),
    text("procedure_hash"),
    Column("overridden", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant", "shard", "idx"),
)  # what auditors search entries by, out of their headers: entry_index.py fills it; case_of: which case it is about

ledger_index_reach = Table(
    "ledger_index_reach",
    metadata,
    text("tenant"),
    text("shard"),
    Column("reach", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "shard"),
)  # a ministry's entries among the leaves before `reach` are in the index

ledger_cosigned = Table(
    "ledger_cosigned",
    metadata,
    text("shard"),
    Column("size", BigInteger, nullable=False),
    instant("hour"),
    Column("root", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("witnesses", ARRAY(Text), nullable=False),
    instant("cosigned_at"),
    PrimaryKeyConstraint("shard", "size"),
    ForeignKeyConstraint(["shard"], ["ledger_shard.name"]),
)  # note: with the lines of witnesses; witnesses: their keys as lines name them; hour: when the first of them came
