"""Start a program that cannot outlive its supervisor. Run as a script; the standard library only.

    python -I -S launch.py PARENT SIGNAL UID:GID PROGRAM [ARGUMENT…]

Gives up root for UID:GID (`-` keeps the caller's), asks the kernel to send SIGNAL when the parent dies, and
becomes PROGRAM. A script and not a `preexec_fn`: Python code between fork and exec can deadlock a supervisor
that has threads. The parent-death signal must come after the change of user, which clears it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diwan.embedded.accounts import Account

PR_SET_PDEATHSIG = 1


def command(on_parent_death: int, program: Path, *arguments: str, account: Account | None = None) -> list[str]:
    """The command line that runs `program` as `account`, bound to the calling process by this script."""
    identity = "-" if account is None else f"{account.uid}:{account.gid}"
    return [
        *(sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(on_parent_death)), identity),
        *(str(program), *arguments),
    ]


def die_with_parent(parent: int, signal_number: int) -> None:
    """Ask the kernel for `signal_number` when the thread that started us ends; exit if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(0)


def main(arguments: list[str]) -> None:
    parent, signal_number, account, program, *rest = arguments
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    die_with_parent(int(parent), int(signal_number))
    os.execv(program, [program, *rest])  # noqa: S606 - becoming the program is what this script is for


if __name__ == "__main__":
    main(sys.argv[1:])
