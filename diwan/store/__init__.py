"""Postgres: the authority. Nothing in here commits; `Database.transaction` does, at the edge."""
