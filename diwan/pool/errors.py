"""How a call to an engine fails; part of the one tree in diwan/domain/errors.py. No message repeats what was said."""

from __future__ import annotations

from diwan.domain.errors import Final, NeedsPerson, Retry


class EngineBusy(Retry):
    """The engine's queue is full (503, 429): the same call may go elsewhere, or here later."""


class EngineRejected(Final):
    """The engine will never take this request (4xx). Codes: engine.context_exceeded, engine.unknown_model, …"""


class EngineUntrusted(NeedsPerson):
    """What answers at the engine's address cannot show that it is the engine: an operator has to look at it.

    Codes: engine.certificate_expired, engine.certificate_other_name, engine.certificate_unknown_authority,
    engine.certificate_refused, engine.no_tls.
    """


class EngineJunk(Final):
    """The engine answered, but not with an answer. `body` is what came, as far as it was read: personal data.

    `endless`: it was cut off at the limit of size or time.
    """

    def __init__(self, code: str, message: str, *, body: bytes, endless: bool = False) -> None:
        self.body = body
        self.endless = endless
        super().__init__(code, message, "Look at the engine's log; people can finish the case meanwhile.")
