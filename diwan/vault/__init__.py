"""The vault: keys of cases, outside Postgres and its backups, in a process of its own (docs/adr/0005-vault.md)."""
