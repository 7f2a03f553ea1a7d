"""`python -m tests.both`: the tests in two runs side by side, for much of their time is beside.

What runs whole stacks (they wait for heartbeats that do not come, bounds that must run out, processes to be started
again) is in STACKS and runs beside all else, about as long. Its output comes when the other run has ended. Exit code 0
where both are green.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACKS = (
    "tests/cli/test_demo.py",
    "tests/embedded/test_stack.py",
    "tests/faults/crash",
    "tests/scenario",
    "tests/traces/test_one_tree.py",
)
APART = ("tests/legal_time",)  # `make year` runs them


def main(arguments: list[str]) -> int:
    """Ends with the worse of both exit codes; pytest's own `arguments` go to both runs."""
    pytest = [sys.executable, "-m", "pytest", *arguments]
    began = time.monotonic()
    with tempfile.TemporaryFile() as told:
        beside = subprocess.Popen([*pytest, *STACKS], cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
        try:
            ignored = [f"--ignore={path}" for path in (*STACKS, *APART)]
            first = subprocess.run([*pytest, *ignored], cwd=ROOT, check=False).returncode
            second = beside.wait()
        finally:
            beside.terminate()  # pytest ends its servers then
            beside.wait()
        told.seek(0)
        sys.stdout.write(told.read().decode(errors="replace"))
    print(
        f"both runs: {time.monotonic() - began:.0f} s",
        "green" if first == second == 0 else f"exit codes {first}, {second}",
    )
    return max(abs(first), abs(second))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
