"""Logs: JSON lines with static names; nothing that an applicant wrote gets into one, whoever logs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PLANTED = "Zubayda-4711"
BEGIN = f"""
import asyncio, logging, warnings
import structlog
from diwan import telemetry
from diwan.domain.errors import InvalidInput
telemetry.configure("web", level="info")
log, name = structlog.get_logger(), {PLANTED!r}
"""


def _lines(code: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert PLANTED not in done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_our_own_lines_have_name_time_level_process_and_fields() -> None:
    (line,) = _lines("log.info('case.opened', case='c1', language='العربية')")
    assert line | {"at": ""} == {
        "event": "case.opened", "case": "c1", "language": "العربية", "level": "info", "process": "web", "at": "",
    }  # fmt: skip
    assert line["at"].endswith("Z")


def test_debug_is_left_out_unless_wanted() -> None:
    assert _lines("log.debug('x'); logging.getLogger('uvicorn.error').debug('x')") == []


@pytest.mark.parametrize(
    "code",
    [
        "logging.getLogger('anything').error('no such applicant: %s', name)",
        "logging.getLogger('anything').error(f'no such applicant: {name}')",
        "logging.getLogger('temporalio.worker').warning('Completing activity as failed %s', name)",
        "logging.getLogger('httpx').warning('GET /?q=%s', name)",
        "warnings.warn(f'odd value {name}')",
    ],
)
def test_a_library_may_say_what_it_likes_to_nobody(code: str) -> None:
    (line,) = _lines(code)
    assert line["event"] == "library.logged"
    assert line["logger"]


def test_temporals_core_speaks_in_lines_like_all_others_and_its_values_are_not_kept() -> None:
    (line,) = _lines("""
from types import SimpleNamespace
from diwan.temporal import CORE_LOGS
entry = SimpleNamespace(level=30, target="temporalio_sdk_core::worker", message="Failing workflow task",
                        fields={"failure": name}, time=1.0)
CORE_LOGS._on_logs([entry])
""")
    assert (line["said"], line["logger"], line["level"]) == ("Failing workflow task", "temporalio.core", "warning")


def test_every_client_sends_its_cores_logs_there() -> None:
    (line,) = _lines("""
import asyncio
from diwan import temporal
seen = {}
class Runtime:
    def __init__(self, *, telemetry):
        seen["forwarding"] = telemetry.logging.forwarding
class Client:
    @staticmethod
    async def connect(*_, runtime, **more):
        seen["runtime"] = runtime
temporal.Runtime, temporal.Client = Runtime, Client
asyncio.run(temporal.connect("127.0.0.1:1", "none"))
log.info("seen", both=seen["forwarding"] is temporal.CORE_LOGS and isinstance(seen["runtime"], Runtime))
""")
    assert line["both"]


def test_an_access_log_is_not_kept() -> None:
    assert _lines("logging.getLogger('uvicorn.access').info('GET /v1/cases?name=%s', name)") == []


FAILING = """
def inner():
    try:
        int(name)
    except ValueError as error:
        raise InvalidInput("form.not_a_number", "Not a number.") from error
"""


@pytest.mark.parametrize("how", ["log.error('x', exc_info=True)", "logging.getLogger('a').exception('x')"])
def test_an_exception_is_its_type_code_and_place(how: str) -> None:
    (line,) = _lines(f"{FAILING}\ntry:\n    inner()\nexcept InvalidInput:\n    {how}\n")
    error = line["error"]
    assert (error["type"], error["code"]) == ("InvalidInput", "form.not_a_number")
    assert error["cause"]["type"] == "ValueError"
    assert any("inner" in frame for frame in error["frames"])


def test_what_nobody_caught_is_logged_the_same_way() -> None:
    (line,) = _lines("raise ValueError(name)")
    assert line["event"] == "process.failed"
    assert line["error"]["type"] == "ValueError"


def test_a_task_that_fails_unseen_does_not_tell_either() -> None:
    code = """
async def main():
    async def fail():
        raise ValueError(name)
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
asyncio.run(main())
"""
    (line,) = _lines(code)
    assert line["logger"] == "asyncio"
    assert line["error"]["type"] == "ValueError"


def test_a_value_that_json_does_not_know_is_not_spelled_out() -> None:
    (line,) = _lines("class Person:\n    def __repr__(self): return name\nlog.info('x', who=Person())")
    assert line["who"] == "Person"
