"""Figures: bounded labels, text that Prometheus reads, and pages and rules that name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from diwan import metrics
from diwan.cli.figures import figures

ROOT = Path(__file__).resolve().parents[2]
RULES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "alerts.example.yaml").read_text())
# Each has few values by nature: ministries, machine names, templates. None names a case, a person or an address.
BOUNDED = {
    *("tenant", "kind", "type", "queue", "model", "code", "outcome", "activity", "why", "part"),
    *("method", "route", "status", "process", "version", "shard", "witness"),
}


def named(text: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bdiwan_[a-z_]+\b", text)}


def test_labels_are_bounded_and_names_of_one_form() -> None:
    assert {label for figure in metrics.ALL.values() for label in figure.labels} <= BOUNDED
    for figure in metrics.ALL.values():
        assert re.fullmatch(r"diwan_[a-z_]+", figure.name)
        assert figure.name.endswith("_total") == isinstance(figure, metrics.Counter)
        assert figure.says.endswith(".")


def test_the_page_says_what_to_do_for_each_figure_and_for_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("### What to watch")[2].partition("\n### ")[0]
    assert named(section) == set(metrics.ALL)


def test_the_rules_name_figures_and_labels_that_exist() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len(rules) >= 8
    for rule in rules:
        found = named(rule["expr"])
        assert found, rule["alert"]
        assert found <= set(metrics.ALL), rule["alert"]
        labels = {label for name in found for label in metrics.ALL[name].labels}
        told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
        assert told <= grouped <= labels, rule["alert"]


def test_the_text_is_what_prometheus_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ALL", {})
    counter = metrics.Counter("diwan_x_total", "Xs.", "kind")
    gauge = metrics.Gauge("diwan_y", "Ys.")
    histogram = metrics.Histogram("diwan_z_seconds", "Zs.", "route")
    counter.add(2, 'a"b')
    gauge.set(1.5)
    for seconds in (0.001, 0.3, 1000.0):
        histogram.observe(seconds, "/r")
    families = {found.name: found for found in text_string_to_metric_families(metrics.rendered().decode())}
    assert [(sample.labels, sample.value) for sample in families["diwan_x"].samples] == [({"kind": 'a"b'}, 2.0)]
    assert families["diwan_y"].samples[0].value == 1.5
    of = {(sample.name, sample.labels.get("le")): sample.value for sample in families["diwan_z_seconds"].samples}
    assert of["diwan_z_seconds_bucket", "0.005"] == 1
    assert of["diwan_z_seconds_bucket", "0.5"] == 2
    assert of["diwan_z_seconds_bucket", "+Inf"] == of["diwan_z_seconds_count", None] == 3
    assert of["diwan_z_seconds_sum", None] == pytest.approx(1000.301)


async def test_one_part_that_cannot_be_read_keeps_no_other() -> None:
    asked: list[str] = []

    async def well() -> None:
        asked.append("well")

    async def broken() -> None:
        raise RuntimeError

    read = figures({"broken": broken, "well": well})
    await read()
    await read()  # at once again: not asked for anew
    assert asked == ["well"]
    assert metrics.UNREADABLE.values["broken",] == 1
    assert metrics.UNREADABLE.values["well",] == 0
