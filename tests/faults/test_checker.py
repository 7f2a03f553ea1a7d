"""The checker has nothing against what is whole, shares no code with the service, and each of its findings is planted.

The faults are planted in test_checker_rows.py, test_checker_entries.py,
test_checker_tree.py and test_checker_logs.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.faults import checker, evidence
from tests.faults.checker import check
from tests.faults.checks import cases, deliveries, events, ledger, letters, reminders, runs, tasks, tree
from tests.faults.conftest import Finished


def test_what_is_whole_has_no_findings(finished: Finished) -> None:
    report = check(finished.evidence())
    assert [str(finding) for finding in report.findings] == []
    assert report.counts["cases"] == 4
    assert report.counts["events sent"] == report.counts["acknowledged"] == 7
    assert report.counts["sendings"] == 21
    assert report.counts["strays"] == 1
    assert report.results == {"granted": 1, "withdrawn": 1}
    assert report.waiting == {"task: review": 1, "suspended at await_pieces": 1}
    assert report.counts["reminders"] == 2
    assert report.counts["deliveries repeated"] == report.counts["outgoing events"] > 7


def test_it_shares_no_code_with_the_service() -> None:
    for module in (checker, evidence, cases, deliveries, events, ledger, letters, reminders, runs, tasks, tree):
        parsed = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        named = {node.module or "" for node in ast.walk(parsed) if isinstance(node, ast.ImportFrom)}
        named |= {name.name for node in ast.walk(parsed) if isinstance(node, ast.Import) for name in node.names}
        ours = {name for name in named if name.split(".")[0] in ("diwan", "workflows", "activities", "agents")}
        assert not ours, f"{module.__name__} imports {ours}"


def test_every_finding_is_planted_once_at_least() -> None:
    """By its name in a file beside this one. Names made of two parts (`NAME.entry_missing`) are planted for one."""
    files = sorted(Path(__file__).parent.glob("test_checker_*.py"))
    planted = "".join(file.read_text(encoding="utf-8") for file in files)
    for module in (cases, deliveries, events, ledger, letters, reminders, runs, tasks, tree):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        for name in re.findall(r'"([a-z]+\.[a-z_]+)"', source):
            assert f'"{name}"' in planted, f"nothing plants {name} of {module.__name__}"
