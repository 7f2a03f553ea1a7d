"""The way to Temporal: one client for every process, and failures that carry no personal data.

Histories outlive the erasure of a case's keys, so what goes into one is scrubbed here, whatever raised it.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import secrets
import socket

from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, TLSConfig
from temporalio.common import Priority
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from diwan.domain.errors import Disposition, DiwanError

# The case's own queue; models have one each, named by `model_queue`.
CASE_QUEUE = "diwan-cases"

# A bug stays a bug however often it is tried: block the case at once instead of hiding it in retries.
_BUGS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError, NotImplementedError)


def model_queue(model: str) -> str:
    """Task queue from which the pool workers of a model pull."""
    return f"diwan-model-{model}"


def host_queue(queue: str, host: str) -> str:
    """Task queue of one host among those that pull from a model's `queue`: for calls whose prefix it holds."""
    return f"{queue}@{host}"


# Of what waits behind everything else.
LEAST_URGENT = 5


def turn_of(tenant: str, priority: int, weight: float | None = None) -> Priority:
    """Among what waits in a queue: the more urgent first (1 before 5), of those each ministry by its weight.

    Without `weight` that of the workflow which starts it counts.
    """
    return Priority(priority_key=priority, fairness_key=tenant, fairness_weight=weight)


class ScrubbingFailureConverter(DefaultFailureConverter):
    """Keeps an error's machine name and its stack (code only, no values); drops foreign messages and their causes."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(scrubbed(exception), payload_converter, failure)


def scrubbed(exception: BaseException) -> BaseException:
    """The same failure without any text that we did not write ourselves (pydantic, for one, echoes its input)."""
    if isinstance(exception, FailureError):
        return exception
    if isinstance(exception, DiwanError):
        clean = ApplicationError(
            str(exception), type=exception.code, non_retryable=exception.disposition is not Disposition.RETRY
        )
    else:
        name = type(exception).__name__
        clean = ApplicationError(name, type=name, non_retryable=isinstance(exception, _BUGS))
    clean.__traceback__ = exception.__traceback__
    return clean


DATA_CONVERTER = dataclasses.replace(pydantic_data_converter, failure_converter_class=ScrubbingFailureConverter)


# The library's core logs by itself, as coloured text and with values. Here it speaks through `logging`, so that a log
# is JSON line by line, and of what it says only the message is kept.
CORE_LOGS = LogForwardingConfig(
    logging.getLogger("temporalio.core"),
    append_target_to_name=False,
    prepend_target_on_message=False,
    append_log_fields_to_message=False,
)


@functools.cache
def _runtime() -> Runtime:
    """One a process: each has threads of its own."""
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(levels, forwarding=CORE_LOGS)))


async def connect(address: str, namespace: str, *, tls: TLSConfig | bool = False) -> Client:
    """Raises RuntimeError (temporalio's) when the server does not answer.

    Each client has a name of its own: the server lists who polls a queue by it (diwan/versions.py asks), and in
    containers one pid and host name may be several processes'.
    """
    identity = f"{os.getpid()}@{socket.gethostname()}/{secrets.token_hex(4)}"
    return await Client.connect(
        address, namespace=namespace, data_converter=DATA_CONVERTER, tls=tls, identity=identity, runtime=_runtime()
    )
