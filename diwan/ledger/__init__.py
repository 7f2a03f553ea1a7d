"""The ledger's pure part: what an entry says, how it is encoded, hashed and checked. No I/O, no clock."""
