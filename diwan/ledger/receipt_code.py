"""The short code on a letter: twenty signs that are easy to read out and type, 90 bits of which nobody can guess.

Crockford's base 32 (no I, L, O, U), in four groups of five: `7K3QX-M9T2C-…`. As one number it is a multiple of 1021, a
prime, which the last two signs bring about: one wrong sign, or two neighbours the wrong way round, is noticed at once.
"""

from __future__ import annotations

import hashlib

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ALIKE = str.maketrans("ILO", "110", "-\u2010\u2011 \t\r\n\u200e\u200f\u2066\u2067\u2068\u2069")
_SIGNS, _CHECKED, _PRIME = 20, 1024, 1021
_RANDOM_BITS = 5 * (_SIGNS - 2)
_CHAIN_DIGITS = 32


def code_of(secret: bytes) -> str:
    """The code that 12 bytes or more of a secret give, the first 90 bits of them."""
    number = (int.from_bytes(secret, "big") >> (8 * len(secret) - _RANDOM_BITS)) * _CHECKED
    number += -number % _PRIME
    signs = "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(_SIGNS)))
    return "-".join(signs[at : at + 5] for at in range(0, _SIGNS, 5))


def read_code(text: str) -> str:
    """A code as somebody typed it, in its one spelling; empty where it is none."""
    signs = text.upper().translate(_ALIKE)
    if len(signs) != _SIGNS or any(sign not in ALPHABET for sign in signs):
        return ""
    number = 0
    for sign in signs:
        number = number << 5 | ALPHABET.index(sign)
    return "" if number % _PRIME else "-".join(signs[at : at + 5] for at in range(0, _SIGNS, 5))


def chain_of(code: str) -> str:
    """The chain of the letter's entries: whoever reads the ledger learns no code."""
    return "receipts/" + hashlib.sha256(f"diwan letter {code}".encode()).hexdigest()[:_CHAIN_DIGITS]
