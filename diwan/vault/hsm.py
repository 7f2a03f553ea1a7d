"""The key-encryption keys in a token that speaks PKCS#11 (an HSM, or SoftHSM): they are used there and never leave it.

They are AES-256 keys, sensitive and not extractable, labelled `diwan-kek-<epoch>-<random>`; the highest epoch is the
current one. A token, or a partition of one, belongs to one vault. Wrapped keys have the same form as with a key file:
AES-256-GCM, C_Encrypt with the associated data, our own random nonce.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from diwan.domain.errors import NeedsPerson, Tampered, Unavailable
from diwan.vault import aead
from diwan.vault.keks import KeyEncryptionKeys

if TYPE_CHECKING:
    from pkcs11 import Session

Answer = TypeVar("Answer")

_LABEL = re.compile(r"diwan-kek-(\d{4,})-[0-9a-f]{8}")
_REMEDY = "See that the token is the vault's own and whole; without its keys nothing that they protect can be read."


@dataclass(frozen=True)
class TokenPlace:
    """The vendor's library, the token's label and the user's PIN."""

    module: Path
    label: str
    pin: str = field(repr=False)


class TokenKeys(KeyEncryptionKeys):
    """The keys of one token, over one session, which is opened anew once when the token has lost it."""

    def __init__(self, place: TokenPlace) -> None:
        self._place = place
        self._session: Session | None = None
        self._keys: dict[str, Any] = {}
        self.refresh()

    @property
    def where(self) -> str:
        return f"the token {self._place.label}"

    @property
    def remedy(self) -> str:
        return _REMEDY

    @property
    def current(self) -> str:
        if not self._keys:
            raise NeedsPerson("vault.token_empty", f"There is no key of a vault in {self.where}.", _REMEDY)
        return max(self._keys, key=_epoch)

    def names(self) -> frozenset[str]:
        return frozenset(self._keys)

    def refresh(self) -> None:
        self._keys = self._asking(_found)

    def add(self) -> str:
        self.refresh()
        epoch = max(map(_epoch, self._keys), default=0) + 1
        name = f"diwan-kek-{epoch:04d}-{secrets.token_hex(4)}"
        self._asking(lambda session: _made(session, name))
        self.refresh()
        return name

    def remove(self, name: str) -> None:
        self.refresh()
        if name in self._keys:
            self._asking(lambda _: self._keys[name].destroy())
        self.refresh()

    def _seal(self, name: str, associated: bytes, key: bytes) -> bytes:
        nonce = os.urandom(aead.NONCE_BYTES)
        how = _gcm(nonce, aead.VERSION + associated)
        return aead.VERSION + nonce + self._asking(lambda _: self._keys[name].encrypt(key, **how))

    def _open(self, name: str, associated: bytes, wrapped: bytes) -> bytes:
        if len(wrapped) < aead.OVERHEAD_BYTES or wrapped[:1] != aead.VERSION:
            raise Tampered("cipher.format_unknown", "A wrapped key has no format that this version knows.", _REMEDY)
        end = 1 + aead.NONCE_BYTES
        how = _gcm(wrapped[1:end], aead.VERSION + associated)
        try:
            return self._asking(lambda _: self._keys[name].decrypt(wrapped[end:], **how))
        except Unavailable:
            # Tokens differ in what they say of a wrong tag; one that still works for this key has said just that.
            probe = self._seal(name, b"probe", b"\x00" * aead.KEY_BYTES)
            how = _gcm(probe[1:end], aead.VERSION + b"probe")
            if self._asking(lambda _: self._keys[name].decrypt(probe[end:], **how)) != b"\x00" * aead.KEY_BYTES:
                raise
            raise Tampered("cipher.does_not_open", "A wrapped key was changed, or moved.", _REMEDY) from None

    def _asking(self, ask: Callable[[Session], Answer]) -> Answer:
        """What the token answers. A session that it lost is opened anew, once: a PIN refused twice locks many."""
        from pkcs11 import exceptions

        lost = (
            exceptions.SessionHandleInvalid,
            exceptions.SessionClosed,
            exceptions.UserNotLoggedIn,
            exceptions.DeviceRemoved,
            exceptions.DeviceError,
            exceptions.TokenNotPresent,
            exceptions.ObjectHandleInvalid,
            exceptions.KeyHandleInvalid,
        )
        for first in (self._session is not None, False):
            try:
                if self._session is None:
                    self._session = self._opened()
                return ask(self._session)
            except lost as error:
                self._lose_session()
                if not first:
                    raise _not_answering(error) from None
            except exceptions.PKCS11Error as error:
                raise _not_answering(error) from None
        raise AssertionError("the second try answers or raises")

    def _opened(self) -> Session:
        """A token that was there when the vault started is one that does not answer now, whatever is wrong with it."""
        try:
            session = _session(self._place)
            self._keys = _found(session)
        except NeedsPerson as error:
            if not self._keys or error.code == "vault.pin_refused":
                raise
            raise _not_answering(error) from None
        return session

    def _lose_session(self) -> None:
        from pkcs11.exceptions import PKCS11Error

        if self._session is not None:
            with contextlib.suppress(PKCS11Error):
                self._session.close()
        self._session = None


def _session(place: TokenPlace) -> Session:
    try:
        import pkcs11
        from pkcs11 import exceptions
    except ImportError:
        raise NeedsPerson(
            "vault.hsm_not_installed", "The library for tokens is not installed.", "pip install 'diwan-casework[hsm]'"
        ) from None
    try:
        token = pkcs11.lib(str(place.module)).get_token(token_label=place.label)
        try:
            return token.open(rw=True, user_pin=place.pin)
        except exceptions.UserAlreadyLoggedIn:  # by another session of this process: it counts for all
            return token.open(rw=True)
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange, exceptions.PinLocked) as error:
        raise NeedsPerson(
            "vault.pin_refused",
            f"The token {place.label} refused the PIN ({type(error).__name__}).",
            "Do not try again at random: a few wrong PINs lock a token. Check DIWAN_VAULT_PKCS11_PIN.",
        ) from None
    except exceptions.NoSuchToken:
        raise NeedsPerson(
            "vault.token_missing",
            f"There is no token {place.label}.",
            "Check DIWAN_VAULT_PKCS11_TOKEN, and that the token is plugged in and initialised.",
        ) from None
    except exceptions.PKCS11Error as error:
        raise NeedsPerson(
            "vault.token_unusable",
            f"The token {place.label} cannot be used through {place.module} ({type(error).__name__}).",
            "Check DIWAN_VAULT_PKCS11_MODULE and the vendor's own configuration.",
        ) from None


def _found(session: Session) -> dict[str, Any]:
    from pkcs11 import Attribute, KeyType, ObjectClass

    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
    keys: list[Any] = list(session.get_objects(wanted))
    return {key.label: key for key in keys if _LABEL.fullmatch(key.label)}


def _made(session: Session, name: str) -> None:
    from pkcs11 import Attribute, KeyType

    session.generate_key(
        KeyType.AES,
        aead.KEY_BYTES * 8,
        label=name,
        id=name.encode(),
        store=True,
        template={
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.ENCRYPT: True,
            Attribute.DECRYPT: True,
            **dict.fromkeys((Attribute.WRAP, Attribute.UNWRAP, Attribute.SIGN, Attribute.VERIFY), False),
        },
    )


def _gcm(nonce: bytes, associated: bytes) -> dict[str, Any]:
    from pkcs11 import GCMParams, Mechanism

    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": GCMParams(nonce, associated, 128)}


def _epoch(name: str) -> int:
    found = _LABEL.fullmatch(name)
    return int(found[1]) if found else 0


def _not_answering(error: Exception) -> Unavailable:
    return Unavailable(
        "vault.token_not_answering",
        f"The token did not do what it was asked ({type(error).__name__}).",
        "If it stays, look at the token, its network and its vendor's log.",
    )
