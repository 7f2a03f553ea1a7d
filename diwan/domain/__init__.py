"""Plain typed values that every part shares: no I/O, no clock, no randomness."""
