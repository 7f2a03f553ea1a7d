"""A stand-in for `vllm`, not vLLM: takes its command line, answers /health on the port that it names, keeps a child.

It writes what it was given to FAKE_VLLM_SEEN, a line of JSON a start. FAKE_VLLM_DOES says how it behaves: `serve`,
`exit` (ends at once), `never` (does not serve), `stubborn` (ignores SIGTERM), `silent` (serves until a file
FAKE_VLLM_SEEN.silent is there, then answers nothing).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

SEEN = Path(os.environ["FAKE_VLLM_SEEN"])
DOES = os.environ.get("FAKE_VLLM_DOES", "serve")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if SEEN.with_suffix(".silent").exists():
            time.sleep(600)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def main() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with SEEN.open("a") as seen:
        line = {"pid": os.getpid(), "child": child.pid, "words": sys.argv[1:], "environment": dict(os.environ)}
        seen.write(json.dumps(line) + "\n")
    print("the stand-in starts", flush=True)
    if DOES == "exit":
        sys.exit(3)
    if DOES == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if DOES == "never":
        time.sleep(600)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


main()
