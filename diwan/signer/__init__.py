"""The signer: a process that holds the log's keys and its own memory of what it signed, apart from the database.

Whoever owns the database can rewrite it, and cannot have the rewriting signed: the signer signs only what its own last
checkpoint is shown to be the beginning of.
"""
