"""What a model is, by its files: digests of its weights, of its tokenizer and of a chat template.

In a shell, in the folder of the weights and with LC_ALL=C:

    cat *.safetensors | sha256sum            the weights
    sha256sum FILES | sha256sum              the tokenizer; FILES are those below that are there, by name
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from diwan.domain.errors import InvalidInput, NotFound, Tampered
from diwan.pool.registry import Model

# Whatever turns messages into tokens: the tokenizer and the chat template that lies beside the weights.
_TOKENIZER_FILES = (
    *("added_tokens.json", "chat_template.jinja", "chat_template.json", "merges.txt", "special_tokens_map.json"),
    *("tekken.json", "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tokenizer_config.json", "vocab.json"),
)
_CHUNK = 8 * 1024 * 1024


def weights_digest(folder: Path, *, go_on: Callable[[], bool] = lambda: True) -> str:
    """SHA-256 (hex) over the bytes of every *.safetensors of `folder`, by name. Raises `NotFound`, `InvalidInput`."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise NotFound("pool.no_weights", f"There is no *.safetensors in {folder}.", "Name the folder of the weights.")
    total = hashlib.sha256()
    for path in files:
        _feed(total, path, go_on)
    return total.hexdigest()


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 (hex) over names and digests of the tokenizer's files in `folder`. Raises as `weights_digest`."""
    found = [name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    if not found:
        raise NotFound("pool.no_tokenizer", f"There is no tokenizer in {folder}.", "Name the folder of the weights.")
    lines = "".join(f"{file_digest(folder / name)}  {name}\n" for name in found)
    return hashlib.sha256(lines.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of one file. Raises `InvalidInput` where it cannot be read."""
    total = hashlib.sha256()
    _feed(total, path, lambda: True)
    return total.hexdigest()


def verify(model: Model, folder: Path, *, go_on: Callable[[], bool] = lambda: True) -> bool:
    """Raises `Tampered` where weights, tokenizer or chat template are not those that `model` is registered by.

    Reads every byte, minutes for large weights; between chunks it asks whether to `go_on`. False where it was not to.
    """
    try:
        _same("weights", model.weights_digest, weights_digest(folder, go_on=go_on))
    except _ToldNotTo:
        return False
    if model.tokenizer_digest is not None:
        _same("tokenizer", model.tokenizer_digest, tokenizer_digest(folder))
    if model.chat_template is not None:
        _same("chat template", model.chat_template.digest, file_digest(folder / model.chat_template.file))
    return True


class _ToldNotTo(Exception):
    """Whoever asked for a digest wants it no more."""


def _same(what: str, registered: str, found: str) -> None:
    if registered != found:
        raise Tampered(
            "pool.other_model",
            f"The {what} here are not those of the registry: {found}, registered {registered}.",
            "Bring the registered files back. If the change is meant, register it as a model with a name of its own, "
            "for the record names models by their digests.",
        )


def _feed(
    total: hashlib._Hash,  # pyright: ignore[reportPrivateUsage]  # it has no other name
    path: Path,
    go_on: Callable[[], bool],
) -> None:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                if not go_on():
                    raise _ToldNotTo
                total.update(chunk)
    except OSError as error:
        raise InvalidInput("pool.unreadable", f"{path}: {error.strerror}.", "Check the path and its owner.") from None


def digests(folder: Path) -> Sequence[tuple[str, str]]:
    """Both digests of a folder, by the names that the registry has for them."""
    return (("weights_digest", weights_digest(folder)), ("tokenizer_digest", tokenizer_digest(folder)))
