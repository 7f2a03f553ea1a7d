"""A model's digests: those that a shell reckons, and a changed file is refused with what to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from diwan.domain.errors import NotFound, Tampered
from diwan.pool import digests
from diwan.pool.registry import ChatTemplate, Model
from tests.pool.test_registry import model


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for number in (2, 1, 10):
        (tmp_path / f"model-{number:05d}.safetensors").write_bytes(bytes([number]) * 1000)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"a": 1}')
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def registered(folder: Path) -> Model:
    found = dict(digests.digests(folder))
    template = ChatTemplate(file="chat_template.jinja", digest=digests.file_digest(folder / "chat_template.jinja"))
    return model("m").model_copy(update={**found, "chat_template": template})


def shell(folder: Path, line: str) -> str:
    done = subprocess.run(["sh", "-c", line], cwd=folder, env={"LC_ALL": "C"}, capture_output=True, check=True)
    return done.stdout.decode().split()[0]


def test_they_are_those_of_a_shell(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_CHUNK", 256)
    assert digests.weights_digest(weights) == shell(weights, "cat *.safetensors | sha256sum")
    files = "chat_template.jinja tokenizer.json tokenizer_config.json"
    assert digests.tokenizer_digest(weights) == shell(weights, f"sha256sum {files} | sha256sum")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("model-00010.safetensors", "weights"),
        ("tokenizer_config.json", "tokenizer"),
        ("chat_template.jinja", "tokenizer"),
    ],
)
def test_a_changed_file_is_refused_with_what_to_do(weights: Path, file: str, said: str) -> None:
    known = registered(weights)
    digests.verify(known, weights)
    with (weights / file).open("ab") as changed:
        changed.write(b"\n")
    with pytest.raises(Tampered) as raised:
        digests.verify(known, weights)
    assert f"The {said} here" in raised.value.message
    assert "Bring the registered files back" in raised.value.remedy


def test_another_chat_template_is_refused_where_the_rest_is_the_same(weights: Path) -> None:
    (weights / "own.jinja").write_text("{{ messages[0] }}")
    template = ChatTemplate(file="own.jinja", digest="0" * 64)
    with pytest.raises(Tampered, match="chat template"):
        digests.verify(registered(weights).model_copy(update={"chat_template": template}), weights)


def test_one_file_more_is_another_model(weights: Path) -> None:
    known = registered(weights)
    (weights / "adapter.safetensors").write_bytes(b"more")
    with pytest.raises(Tampered):
        digests.verify(known, weights)


def test_a_folder_without_weights_or_tokenizer_is_named(tmp_path: Path) -> None:
    for reckon in (digests.weights_digest, digests.tokenizer_digest):
        with pytest.raises(NotFound, match=tmp_path.name):
            reckon(tmp_path)
