"""How values are sealed: canonical JSON of a pydantic value, bound to table, column and row."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from diwan.domain.errors import NotFound, Tampered
from diwan.domain.ports import Cipher, RetentionClass

Value = TypeVar("Value", bound=BaseModel)


def context(place: str, *row: object) -> str:
    """`table.column/row-id`: a ciphertext moved to another row, column or table does not open there."""
    return "/".join((place, *map(str, row)))


def is_destroyed(cipher: Cipher, retention: RetentionClass) -> bool:
    """Whether the key of this class is gone, as the vault has it: a database that was restored may not know."""
    try:
        cipher.seal(retention, "none", b"")
    except NotFound:
        return True
    return False


def seal_value(cipher: Cipher, retention: RetentionClass, place: str, value: BaseModel) -> bytes:
    return cipher.seal(retention, place, value.model_dump_json().encode())


def open_value(cipher: Cipher, retention: RetentionClass, place: str, sealed: bytes, type_: type[Value]) -> Value:
    """Raises `Tampered` where the value does not open or is not one of `type_`."""
    try:
        return type_.model_validate_json(cipher.open(retention, place, sealed))
    except ValidationError:
        raise Tampered("store.not_a_value", f"A stored value is not a {type_.__name__}.") from None


def seal_json(cipher: Cipher, retention: RetentionClass, place: str, value: Any) -> bytes:
    return cipher.seal(retention, place, orjson.dumps(value))


def open_json(cipher: Cipher, retention: RetentionClass, place: str, sealed: bytes) -> Any:
    return orjson.loads(cipher.open(retention, place, sealed))
