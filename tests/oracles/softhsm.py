"""Brings SoftHSM, a token in software, out of Debian's packages into the user's cache, once; nothing is installed.

`python -m tests.oracles.softhsm` does it, silently where it is there, or installed on the machine. Debian's own
`apt-get download` fetches it and checks its signature's chain; it needs no root, `dpkg -x` neither.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from diwan.embedded.temporal_program import cache_dir

_PACKAGES = ("softhsm2", "libsofthsm2")
_REMEDY = "Install it: apt-get install softhsm2. Or let apt reach Debian's packages, then: make oracles"


@dataclass(frozen=True)
class SoftHsm:
    """`module` is its PKCS#11 library, `util` makes tokens."""

    module: Path
    util: Path


def softhsm() -> SoftHsm:
    """Where it is. Raises `FileNotFoundError` that says what to do where it is not."""
    for root in (Path("/"), _folder()):
        modules = sorted(root.glob("usr/lib/**/softhsm/libsofthsm2.so"))
        util = root / "usr/bin/softhsm2-util"
        if modules and util.exists():
            return SoftHsm(modules[0], util)
    raise FileNotFoundError(f"There is no SoftHSM on this machine. {_REMEDY}")


def _folder() -> Path:
    return cache_dir() / "softhsm2"


def fetch() -> None:
    """Into a folder beside, then rename: half of it is never found."""
    _folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_folder().parent) as made:
        for command in (
            ["apt-get", "download", *_PACKAGES],
            ["apt-get", "update"],
            ["apt-get", "download", *_PACKAGES],
        ):
            tried = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
            if list(Path(made).glob("libsofthsm2_*.deb")):
                break
        else:
            raise FileNotFoundError(
                tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else "apt said nothing"
            )
        for package in Path(made).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, f"{made}/root"], check=True)
        shutil.copytree(f"{made}/root", f"{_folder()}.{Path(made).name}")
        Path(f"{_folder()}.{Path(made).name}").replace(_folder())


def main() -> int:
    try:
        softhsm()
        return 0
    except FileNotFoundError:
        print("oracles: bringing SoftHSM (once)", file=sys.stderr)
    try:
        fetch()
        softhsm()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"oracles: no SoftHSM: {error}\n{_REMEDY}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
