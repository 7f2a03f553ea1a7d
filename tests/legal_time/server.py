"""Temporal's time-skipping server, a Java program out of Maven's repositories: found in the user's cache, or fetched.

`python -m tests.legal_time.server` fetches it (`make year`). Maven asks the repositories that it is configured for;
every file that comes must have the digest in jars.sha256, and one that nobody named is refused.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from diwan.domain.errors import DiwanError, Final, Tampered, Unavailable
from diwan.embedded.temporal_program import cache_dir

_HERE = Path(__file__).resolve().parent
_POM, _DIGESTS = _HERE / "pom.xml", _HERE / "jars.sha256"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"
_MAIN = "io.temporal.testserver.TestServer"
_PATIENCE_S = 900
_INSTALL = "Install Java 11 or later and Maven (Debian: apt-get install maven), then type: make year"


def digests() -> dict[str, str]:
    """File name → SHA-256 in hex, of all that the server consists of."""
    pairs = (line.split() for line in _DIGESTS.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in pairs}


def folder() -> Path:
    """Where the files lie; another list of files is another folder."""
    return cache_dir() / f"time-skipping-{hashlib.sha256(_DIGESTS.read_bytes()).hexdigest()[:16]}"


def check(jars: Path) -> None:
    """Raises `Tampered` where a file is missing, differs or is one too many."""
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.glob("*.jar")}
    wanted = digests()
    wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if wrong:
        raise Tampered(
            "time_server.differs",
            f"Not as pinned in tests/legal_time/jars.sha256: {', '.join(wrong)}.",
            f"Remove {jars} and fetch it anew: make year",
        )


def program() -> Path:
    """The server as one program, all of its files compared with their digests.

    Raises `Final` where it, or Java, is missing.
    """
    if shutil.which("java") is None:
        raise Final("time_server.no_java", "The time-skipping server needs Java.", _INSTALL)
    made = folder() / "server"
    if not made.exists():
        raise Final("time_server.missing", "The time-skipping server is not installed.", "Type: make year")
    check(folder())
    return made


def provide() -> Path:
    """Fetches the server unless it is there. Raises `Final` without Java or Maven, `Unavailable`, `Tampered`."""
    if (folder() / "server").exists():
        return program()
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        raise Final("time_server.no_maven", "The time-skipping server comes by Maven and runs on Java.", _INSTALL)
    folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder().parent) as made:
        jars = Path(made) / "jars"
        done = subprocess.run(
            [maven, "--batch-mode", "--quiet", "--file", _POM, _COPY, f"-DoutputDirectory={jars}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
            raise Unavailable(
                "time_server.fetch_failed", f"Maven could not fetch it: {said[:300]}", "Check Maven's settings.xml."
            )
        check(jars)
        script = jars / "server"
        script.write_text(
            f'#!/bin/sh\nexec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "{folder()}/*" {_MAIN} "$@"\n',
            encoding="utf-8",
        )
        script.chmod(0o755)
        if not folder().exists():
            jars.rename(folder())
    return program()


def main() -> int:
    try:
        provide()
    except DiwanError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
