"""The reader's process, taken over by what it reads, gets at nothing of the service's."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diwan.documents.confine import landlock_version

# Says of each attempt whether it came through: what code that took the reader over would try.
TRY = """
import ctypes, json, os, signal, socket, subprocess, sys
import diwan.documents.reader
from diwan.documents.confine import confine
status = open("/proc/self/status")  # opened before, read after
if sys.argv[1] == "confined":
    confine()
secret, folder, port, parent = sys.argv[2:]
def tcp():
    socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
attempts = {
    "secret": lambda: open(secret).read(),
    "list": lambda: os.listdir(folder),
    "write": lambda: open(os.path.join(folder, "new"), "w").close(),
    "environment": lambda: open(f"/proc/{parent}/environ", "rb").read(1),
    "passwords": lambda: open("/etc/passwd").read(),
    "tcp": tcp,
    "signal": lambda: os.kill(int(parent), 0),
    "library": lambda: __import__("colorsys"),
    "program": lambda: subprocess.run(["/usr/bin/env", "true"], check=True),
}
came = {}
for name, attempt in attempts.items():
    try:
        attempt()
        came[name] = True
    except OSError:
        came[name] = False
came["no_new_privileges"] = bool(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))
came["dumpable"] = bool(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
came["capabilities"] = any(int(line.split()[1], 16) for line in status if line.startswith(("CapEff", "CapPrm")))
print(json.dumps(came))
"""


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    secret = tmp_path / "secret"
    secret.write_text("key")
    secret.chmod(0o600)

    def attempted(how: str) -> dict[str, bool]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            done = subprocess.run(
                [sys.executable, "-c", TRY, how, str(secret), str(tmp_path), str(port), str(os.getpid())],
                capture_output=True,
                check=True,
            )
        return json.loads(done.stdout)

    return attempted


# Gives up root with one path to be read, and says who it is then and what it may.
GIVE_UP = """
import os, sys
from pathlib import Path
from diwan.documents import confine
status = open("/proc/self/status")
if sys.argv[1:]:
    confine._readable = lambda: iter([Path(sys.argv[1])])
confine.confine()
may = any(int(line.split()[1], 16) for line in status if line.startswith(("CapEff", "CapPrm")))
print(os.getresuid(), os.getresgid(), os.getgroups(), may)
"""


def _after(*readable: Path) -> str:
    done = subprocess.run([sys.executable, "-c", GIVE_UP, *map(str, readable)], capture_output=True, check=True)
    return done.stdout.decode().strip()


def _as(uid: int, gid: int, *groups: int) -> str:
    """Without capabilities."""
    return f"{(uid,) * 3} {(gid,) * 3} {[*groups]} False"


def _nobody_runs_our_code(nobody: pwd.struct_passwd) -> bool:
    """In earnest: with this Python, which may lie in somebody's home."""
    command = [sys.executable, "-c", "import diwan.documents.reader"]
    try:
        return subprocess.run(command, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[]).returncode == 0
    except PermissionError:
        return False


def test_root_becomes_nobody_where_that_user_can_read_the_code(tmp_path: Path) -> None:
    """And stays root without what root may, where not. Any other user stays who it is."""
    nobody = pwd.getpwnam("nobody")
    changed, kept = _as(nobody.pw_uid, nobody.pw_gid), _as(0, nobody.pw_gid)
    if os.geteuid() == 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        assert _after(Path("/")) == changed
        assert _after(closed) == kept
        assert _after() == (changed if _nobody_runs_our_code(nobody) else kept)
    else:
        assert _after() == _as(os.geteuid(), os.getegid(), *os.getgroups())


def test_what_reads_hostile_files_reaches_nothing_of_the_service(attempt: Any) -> None:
    free, confined = attempt("free"), attempt("confined")
    ours = ("secret", "list", "write", "environment", "passwords")
    assert all(free[name] for name in (*ours, "tcp", "signal", "library", "program")), "the attempts work"
    assert confined["library"]
    assert confined["program"], "as Tesseract is started"
    assert confined["no_new_privileges"]
    assert not confined["dumpable"]
    assert not confined["capabilities"]
    version = landlock_version()
    assert not (version >= 1 and any(confined[name] for name in ours))
    assert not (version >= 4 and confined["tcp"])
    assert not (version >= 6 and confined["signal"])
