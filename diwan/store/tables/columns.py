"""Columns and keys that tables are made of, and the metadata that they are in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, DateTime, ForeignKeyConstraint, LargeBinary, MetaData, Text

metadata = MetaData()


def instant(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def text(name: str, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=nullable, server_default=default)


def sealed(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=nullable)


def of_case() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant", "case_id"], ["case_file.tenant", "case_file.id"])
