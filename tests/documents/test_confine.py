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

import diwan
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python that every user can read")
def test_root_becomes_nobody_where_that_user_can_read_the_code() -> None:
    script = "import os; from diwan.documents.confine import confine; confine(); print(os.getresuid(), os.getgroups())"
    root = Path(diwan.__file__).parent.parent
    if any(not folder.stat().st_mode & 0o005 for folder in (root / "diwan", *root.parents)):
        pytest.skip("this checkout is closed to other users")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script], env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, check=True
    )
    nobody = pwd.getpwnam("nobody").pw_uid
    assert done.stdout.decode().split("\n")[0] == f"{(nobody,) * 3} []"


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
    if version == 0:
        pytest.skip("this kernel has no Landlock")
    assert not any(confined[name] for name in ours)
    assert not (version >= 4 and confined["tcp"])
    assert not (version >= 6 and confined["signal"])
