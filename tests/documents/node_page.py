"""Runs the whole page of receipts in Node, as somebody uses it: what is put into its fields, and what it then says.

Of a browser there is only what page.js asks of one; tests/browser shows the page in a real one.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import asdict, dataclass

from tests.documents.node_receipts import NODE

_BROWSER = """
const asked = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const element_of = () => ({
  dataset: {}, value: "", files: [], textContent: "", className: "", children: [], on: {}, shown: () => {},
  append(...more) { this.children.push(...more); },
  replaceChildren() { this.children = []; },
  addEventListener(name, act) { this.on[name] = act; },
  setAttribute() {},
  focus() { this.shown(); },
});
const elements = { given: { textContent: asked.given } };
const field = (id) => (elements[id] ??= element_of());
globalThis.document = {
  getElementById: field, createElement: element_of, querySelectorAll: () => [], documentElement: {}, title: "",
};
globalThis.location = { hash: "" };
globalThis.window = {};
"""
_USE = """
(async () => {
  const textOfAll = (node) => [node.textContent, ...node.children.map(textOfAll)].filter((text) => text).join("\\n");
  const bytes = (file) => Buffer.from(file, "base64");
  const said = [];
  for (const step of asked.steps) {
    field("receipt-text").value = step.receipt;
    field("code").value = step.code;
    field("letter-file").files = step.letter ? [new File([bytes(step.letter)], "letter.pdf")] : [];
    globalThis.fetch = async () => new Response(step.answer);
    const shown = new Promise((resolve) => { field("answer").shown = resolve; });
    field(step.code ? "online-form" : "receipt-form").on.submit({ preventDefault() {} });
    await shown;
    said.push([field("answer").className, textOfAll(field("answer"))]);
  }
  console.log(JSON.stringify(said));
})();
"""


@dataclass(frozen=True)
class Step:
    """What is put in before a button is pressed: that which asks the service where there is a code."""

    receipt: str = ""
    code: str = ""
    answer: str = ""
    letter: bytes = b""


def visit(page: bytes, *steps: Step) -> list[tuple[str, str]]:
    """Of each step how it came out, `good` or `bad`, and the text that is shown."""
    html = page.decode()
    (given,) = re.findall(r'<script type="application/json" id="given">(.*?)</script>', html, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    sent = [{**asdict(step), "letter": base64.b64encode(step.letter).decode()} for step in steps]
    done = subprocess.run(
        [NODE, "-e", _BROWSER + script + _USE],
        input=json.dumps({"given": given, "steps": sent}),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [(good, text) for good, text in json.loads(done.stdout)]
