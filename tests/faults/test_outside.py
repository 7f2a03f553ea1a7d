"""Those outside do what the runs count on: receiver, faulty engine, small disk, whole families of processes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from diwan.domain.errors import Unavailable
from diwan.pool.engine import EngineClient
from diwan.pool.errors import EngineBusy, EngineJunk
from tests.faults import disk, engine, nemesis, receiver
from tests.faults.engine import FaultyEngine
from tests.faults.evidence import Delivered, read_jsonl
from tests.faults.receiver import Receiver

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "log", SECRET)
    serving = threading.Thread(target=made.serve_forever, daemon=True)
    serving.start()
    yield made
    made.shutdown()
    serving.join()
    made.server_close()


@pytest.fixture
async def failing() -> AsyncIterator[FaultyEngine]:
    """Before an engine that is not there."""
    made = FaultyEngine(9)
    serving = threading.Thread(target=made.serve_forever, daemon=True)
    serving.start()
    yield made
    made.set_mode("", 0)
    made.shutdown()
    serving.join()
    made.server_close()


def _deliver(to: Receiver, id_: str, body: str, secret: str = SECRET) -> int:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id_, now, body),
    }
    try:
        url = f"http://127.0.0.1:{to.server_address[1]}/"
        return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=3.0).status_code
    except httpx.HTTPError:
        return 0


def test_a_delivery_is_written_down_before_it_is_answered(listening: Receiver, tmp_path: Path) -> None:
    assert _deliver(listening, "one", '{"a":1}') == 200
    other = "whsec_" + SECRET[-4:] + SECRET[6:-4]
    assert _deliver(listening, "two", "{}", other) == 200
    assert [Delivered(**row) for row in read_jsonl(tmp_path / "log")] == [
        Delivered("one", '{"a":1}', 200, True),
        Delivered("two", "{}", 200, False),
    ]


def test_a_receiver_that_answers_badly_has_the_delivery_all_the_same(listening: Receiver, tmp_path: Path) -> None:
    for mode, answer in (("fail", 500), ("drop", 0), ("hang", 0)):
        listening.set_mode(mode, 300)
        assert _deliver(listening, mode, "{}") == answer
    listening.set_mode("", 0)
    assert [row["status"] for row in read_jsonl(tmp_path / "log")] == [500, 0, 0]
    assert set(receiver.MODES) == {"fail", "drop", "hang"}


def test_a_receiver_may_fail_at_any_time(tmp_path: Path) -> None:
    moody = Receiver(tmp_path / "log", SECRET, 0.5)
    moods = [moody.mood() for _ in range(200)]
    moody.server_close()
    assert {mood: moods.count(mood) > 20 for mood in set(moods)} == {"": True, "fail": True, "drop": True}


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("busy", EngineBusy),
        ("crash", Unavailable),
        ("not_json", EngineJunk),
        ("half", Unavailable),
        ("endless", EngineJunk),
        ("hang", Unavailable),
        ("drop", Unavailable),
        ("", Unavailable),
    ],
)
async def test_the_engine_fails_as_it_is_told(failing: FaultyEngine, mode: str, error: type[Exception]) -> None:
    url = f"http://127.0.0.1:{failing.server_address[1]}"
    failing.set_mode(mode, 300)
    async with EngineClient(url, seconds=1.0, max_bytes=10**6) as client:
        with pytest.raises(error):
            await client.chat(b"{}")


async def test_an_engine_that_talks_nonsense_is_well_formed(failing: FaultyEngine) -> None:
    async with EngineClient(f"http://127.0.0.1:{failing.server_address[1]}") as client:
        for mode, reason in (("nonsense", "stop"), ("cut", "length")):
            failing.set_mode(mode, 300)
            answer = json.loads((await client.chat(b"{}")).body)
            assert answer["choices"][0]["finish_reason"] == reason
    assert {"nonsense", "cut"} < set(engine.MODES)


_WRITER = """
import sys
for line in sys.stdin:
    try:
        open(sys.argv[1], "wb").write(b"x" * 100_000)
    except OSError as error:
        print(error.errno, flush=True)
    else:
        print(0, flush=True)
"""


def test_a_process_whose_files_may_not_grow_meets_a_full_disk(tmp_path: Path) -> None:
    """And none that was freed again, by the same ordinary means."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for act, said in ((disk.limit, b"27\n"), (disk.unlimit, b"0\n")):
            act(*([[process.pid], 65_536] if act is disk.limit else [[process.pid]]))  # type: ignore[arg-type]
            process.stdin.write(b"\n")
            assert process.stdout.readline() == said
        process.stdin.close()
    disk.limit([process.pid], 1)  # has gone: nothing happens
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_small_disk_is_full_and_free_again(tmp_path: Path) -> None:
    small = disk.SmallDisk(tmp_path)
    try:
        if not small.mounted:  # an ordinary user: the other way is taken
            assert small.fill() is False
            return
        (tmp_path / "before").write_bytes(b"x" * 100_000)
        assert small.fill()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "more").write_bytes(b"x" * 100_000)
        small.free()
        (tmp_path / "more").write_bytes(b"x" * 100_000)
    finally:
        small.close()


def test_a_disk_that_grows_while_it_is_made_small_is_made_small_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, False, True])
    small = disk.SmallDisk(tmp_path)
    mounted, small.mounted = small.mounted, True
    with monkeypatch.context() as patch:
        patch.setattr(disk, "_run", lambda *command: next(answers))  # pyright: ignore[reportUnknownLambdaType]
        assert small.fill()
    small.mounted = mounted
    small.close()


def test_a_family_is_found_with_children_in_sessions_of_their_own() -> None:
    command = [sys.executable, "-c", "import subprocess, sys; subprocess.run(['cat'], start_new_session=True)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        while len(found := nemesis.family(process.pid)) < 2:
            os.sched_yield()
        assert found[0] == process.pid
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


def test_every_process_of_the_stack_is_hit_in_every_way() -> None:
    for kind in ("kill", "stop", "end"):
        assert {fault.what for fault in nemesis.DECK if fault.kind == kind} == set(nemesis.PARTS)
    dice = nemesis.random.Random(1)
    short = nemesis.short_deck(dice)
    assert {fault.kind for fault in short} == {fault.kind for fault in nemesis.DECK}
    assert {fault.what for fault in short if fault.kind in ("kill", "stop", "end")} == set(nemesis.PARTS)
