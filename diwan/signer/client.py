"""The signer's client: implements `diwan.sequencer.Signer`."""

from __future__ import annotations

from collections.abc import Sequence

from diwan.ledger.checkpoint import Checkpoint
from diwan.local import exchange
from diwan.signer.protocol import KeysAnswer, LastRequest, NoteAnswer, SignRequest

_TIMEOUT_S = 10.0


class SignerClient:
    """`location` is a unix socket's path or a loopback URL. Every request may be repeated.

    Raises `Unavailable` where the signer does not answer, else the signer's own errors.
    """

    def __init__(self, location: str, token: str) -> None:
        self._http = exchange.http_client(location, token, "signer", timeout_s=_TIMEOUT_S)

    async def last(self, origin: str) -> bytes | None:
        said = await self._post("/v1/last", LastRequest(origin=origin))
        return None if said.note is None else said.note.encode()

    async def sign(self, checkpoint: Checkpoint, proof: Sequence[bytes]) -> bytes:
        asked = SignRequest(
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=checkpoint.root.hex(),
            proof=tuple(each.hex() for each in proof),
        )
        return ((await self._post("/v1/checkpoints", asked)).note or "").encode()

    async def keys(self) -> KeysAnswer:
        """The verifier keys of all logs, the oldest first."""
        answered = await exchange.exchange(self._http, "GET", "/v1/keys", b"", service="signer")
        return exchange.read(answered, KeysAnswer, service="signer")

    async def ready(self) -> None:
        """Raises unless the signer answers and can read what it keeps."""
        answered = await exchange.exchange(self._http, "GET", "/readyz", b"", service="signer")
        if answered.status_code != 200:
            raise exchange.error_of(answered, service="signer")

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _post(self, path: str, asked: SignRequest | LastRequest) -> NoteAnswer:
        content = asked.model_dump_json().encode()
        answered = await exchange.exchange(self._http, "POST", path, content, service="signer")
        return exchange.read(answered, NoteAnswer, service="signer")
