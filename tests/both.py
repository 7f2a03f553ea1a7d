"""`python -m tests.both`: the tests in two runs side by side, for a third of their time is waiting.

What mostly waits (for a heartbeat that does not come, a bound that must run out, a process to be started again) is in
WAITING and runs beside all else. Its output comes when the other run has ended. Exit code 0 where both are green.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAITING = (
    "tests/faults/crash",
    "tests/scenario/test_engines_return.py",
    "tests/scenario/test_host_cut_off.py",
    "tests/scenario/test_host_ends.py",
    "tests/scenario/test_hosts_lost.py",
)
APART = ("tests/legal_time",)  # `make year` runs them


def main(arguments: list[str]) -> int:
    """Ends with the worse of both exit codes; pytest's own `arguments` go to both runs."""
    pytest = [sys.executable, "-m", "pytest", *arguments]
    began = time.monotonic()
    with tempfile.TemporaryFile() as told:
        waiting = subprocess.Popen([*pytest, *WAITING], cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
        try:
            ignored = [f"--ignore={path}" for path in (*WAITING, *APART)]
            first = subprocess.run([*pytest, *ignored], cwd=ROOT, check=False).returncode
            second = waiting.wait()
        finally:
            waiting.terminate()  # pytest ends its servers then
            waiting.wait()
        told.seek(0)
        sys.stdout.write(told.read().decode(errors="replace"))
    print(
        f"both runs: {time.monotonic() - began:.0f} s",
        "green" if first == second == 0 else f"exit codes {first}, {second}",
    )
    return max(abs(first), abs(second))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
