"""Running `diwan` as a user starts it: a process of its own, as an ordinary user, with settings in variables."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import diwan
from diwan.embedded import accounts, temporal_program
from diwan.embedded.accounts import Account

CHECKOUT = Path(diwan.__file__).resolve().parents[1]


@dataclass(frozen=True)
class User:
    """Who runs commands: a prefix that becomes them, a Python that they can run, their variables."""

    prefix: tuple[str, ...]
    python: str
    environment: Mapping[str, str]

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """`diwan ARGUMENTS…` with DIWAN_ settings (`home=`, `port=`, …)."""
        return subprocess.Popen(
            [*self.prefix, self.python, "-m", "diwan.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**self.environment, **{f"DIWAN_{name.upper()}": value for name, value in settings.items()}},
        )

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """The same to its end."""
        with self.start(*arguments, **settings) as process:
            out, err = process.communicate(timeout=120)
            return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def myself() -> User:
    return User((), sys.executable, _environment(Path.home(), os.environ["PATH"]))


def ordinary(folder: Path) -> User:
    """An ordinary user who owns `folder`: ourselves, or for root `nobody`.

    Where nobody can run this Python, another of the same version takes its place, else nobody is also allowed to
    read all files: the user it is stays ordinary.
    """
    programs = folder / "bin"
    programs.mkdir()
    _link_or_copy(temporal_program.require(), programs / "temporal")
    path = f"{programs}:{os.environ['PATH']}"
    if os.geteuid() != 0:
        return User((), sys.executable, _environment(folder, path))
    entry = pwd.getpwnam("nobody")
    account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    os.chown(folder, account.uid, account.gid)
    become = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    python = _python_for(account)
    if python is None:
        become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return User((*become, "--"), python or sys.executable, _environment(folder, path))


def _environment(home: Path, path: str) -> dict[str, str]:
    libraries = [found for found in sys.path if found.endswith("site-packages")]
    return {"PATH": path, "HOME": str(home), "PYTHONPATH": ":".join([str(CHECKOUT), *libraries]), "LANG": "C.UTF-8"}


def _python_for(account: Account) -> str | None:
    if not accounts.can_enter(CHECKOUT, account) or not accounts.can_enter(Path(sys.prefix), account):
        return None
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        program = Path(found)
        if program.exists() and accounts.can_enter(program.resolve().parent, account):
            return found
    return None


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
        target.chmod(0o755)
