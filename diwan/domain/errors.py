"""Every error says what happens next: try again, final, or a person is needed.

    DiwanError
    ├── Retry            the same call may succeed later            HTTP 503  exit 75
    │   └── Unavailable  a part that we depend on does not answer
    ├── Final            the same call will never succeed
    │   ├── InvalidInput the input is not acceptable                HTTP 422  exit 2
    │   ├── Unauthenticated  no valid credential                    HTTP 401  exit 4
    │   ├── Refused      the caller may not do this                 HTTP 403  exit 4
    │   ├── NotFound     there is no such thing (for this caller)   HTTP 404  exit 3
    │   │   └── Erased   there was; its key is destroyed            HTTP 410  exit 3
    │   ├── Conflict     it was done otherwise already, or changed  HTTP 409  exit 5
    │   ├── TooLarge     more bytes than a limit allows             HTTP 413  exit 2
    │   ├── UnsupportedMedia  a type that is not taken              HTTP 415  exit 2
    │   └── Tampered     a digest, signature or authentication tag fails: a person is needed   HTTP 500  exit 1
    └── NeedsPerson      only a human being can go on               HTTP 500  exit 1

Messages name the remedy and never repeat personal data: they end in logs and in Temporal histories.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Disposition(StrEnum):
    """What whoever meets the error should do."""

    RETRY = "retry"
    FINAL = "final"
    PERSON = "needs_person"


class DiwanError(Exception):
    """Base of all errors raised on purpose.

    `code` is a stable machine name (`task.shown_digest_differs`), `message` says what is wrong, `remedy`
    what to do next. Neither contains personal data.
    """

    disposition: ClassVar[Disposition] = Disposition.FINAL
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        self.code = code
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} {remedy}".strip())


class Retry(DiwanError):
    disposition = Disposition.RETRY
    status = 503
    exit_code = 75


class Unavailable(Retry):
    """A part that we depend on (database, vault, engine, issuer) does not answer now."""


class Final(DiwanError):
    """The same call will never succeed."""


class InvalidInput(Final):
    status = 422
    exit_code = 2


class Unauthenticated(Final):
    status = 401
    exit_code = 4


class Refused(Final):
    status = 403
    exit_code = 4


class NotFound(Final):
    status = 404
    exit_code = 3


class Erased(NotFound):
    """What was here is erased for good: nothing is wrong, and nothing brings it back."""

    status = 410


class Conflict(Final):
    status = 409
    exit_code = 5


class TooLarge(InvalidInput):
    status = 413


class UnsupportedMedia(InvalidInput):
    status = 415


class Tampered(Final):
    """Stored bytes are not what they claim to be; never go on with them. A person has to find out why."""

    disposition = Disposition.PERSON


class NeedsPerson(DiwanError):
    disposition = Disposition.PERSON
