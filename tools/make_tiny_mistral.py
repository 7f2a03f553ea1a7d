"""Make a tiny random Mistral for tests against a real vLLM: `.venv-vllm/bin/python tools/make_tiny_mistral.py FOLDER`.

Two layers of seeded random weights and a byte-level BPE tokenizer trained on this repository's own prompts and sample
dossiers (Arabic, French, English). What it writes is nonsense. A few things are wired into the output layer, so that a
test sees every kind of exchange in a handful of tokens: after a user's message it calls a tool, after a tool's result
it says one word and ends, and inside a constrained answer it leaves no list empty and likes to close a string.

Runs in the environment of `make test-vllm`, not in the service's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "agents/prompts/*/*/*.md",
    "diwan/examples/*/*.yaml",
    "diwan/examples/*/dossiers/*/*.json",
    "tools/dossiers/*.yaml",
)

CONTEXT = 8_192
VOCABULARY = 4_096
HIDDEN = 256
# The last dimensions of the residual stream are kept free of chance; each carries one thing that is wired.
WIRED = 8
STRONG, GENTLE = 60.0, 3.0

BEGIN, END = "<s>", "</s>"
USER, USER_END, SYSTEM, SYSTEM_END = "[INST]", "[/INST]", "[SYSTEM]", "[/SYSTEM]"
TOOLS, TOOLS_END, RESULT, RESULT_END = "[TOOLS]", "[/TOOLS]", "[RESULT]", "[/RESULT]"
CALL, CALL_END = "<tool_call>", "</tool_call>"
THE_CALL = '{"name": "documents_read_page", "arguments": {"document": "d1", "page": 1}}'
SPECIAL = (BEGIN, END, SYSTEM, SYSTEM_END, USER, USER_END, TOOLS, TOOLS_END, RESULT, RESULT_END)
PLAIN = (CALL, CALL_END, THE_CALL)  # seen by the tool parser, so not skipped as special

# The tools come after what stays the same from call to call, as close to the end as a cache wants them.
TEMPLATE = """\
{{- '<s>' -}}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{- '[SYSTEM]' + message['content'] + '[/SYSTEM]' -}}
{%- elif message['role'] == 'user' -%}
{{- '[INST]' + message['content'] + '[/INST]' -}}
{%- if loop.index == 2 and tools -%}{{- '[TOOLS]' + (tools | tojson) + '[/TOOLS][INST][/INST]' -}}{%- endif -%}
{%- elif message['role'] == 'tool' -%}
{{- '[RESULT]' + message['content'] + '[/RESULT]' -}}
{%- elif message['role'] == 'assistant' -%}
{{- message['content'] or '' -}}
{%- for call in message['tool_calls'] or [] -%}
{{- '<tool_call>' + ({'name': call['function']['name'], 'arguments': call['function']['arguments']} | tojson)
    + '</tool_call>' -}}
{%- endfor -%}
{{- '</s>' -}}
{%- else -%}
{{- raise_exception('unknown role ' + message['role']) -}}
{%- endif -%}
{%- endfor -%}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=2)
    asked = parser.parse_args()
    logging.disable_progress_bar()
    asked.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(asked.folder)
    _model(tokenizer, asked.seed).save_pretrained(asked.folder, safe_serialization=True)


def _tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(PLAIN),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_texts(), trainer)
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in PLAIN])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=BEGIN, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def _texts() -> Iterator[str]:
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            yield path.read_text(encoding="utf-8")


def _model(tokenizer: PreTrainedTokenizerFast, seed: int) -> MistralForCausalLM:
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=HIDDEN // 4,
        max_position_embeddings=CONTEXT,
        sliding_window=None,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    model = MistralForCausalLM(config).to(torch.float32).eval()
    with torch.no_grad():
        _wire(model, tokenizer)
    model.generation_config.do_sample = False
    return model


def _wire(model: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Bigrams in dimensions that nothing else writes to: the embedding of one token raises the next one's logit."""
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding[:, :-WIRED].normal_()
    head[:, :-WIRED].normal_(std=0.06)
    embedding[:, -WIRED:] = 0
    head[:, -WIRED:] = 0
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[-WIRED:] = 0
        layer.mlp.down_proj.weight[-WIRED:] = 0

    ids = tokenizer.get_vocab()
    after_user, call, the_call, closed, word, opened = range(HIDDEN - WIRED, HIDDEN - WIRED + 6)
    for here, dimension, then in (
        (USER_END, after_user, CALL),
        (CALL, call, THE_CALL),
        (THE_CALL, the_call, CALL_END),
        (CALL_END, closed, END),
    ):
        embedding[ids[here], dimension] = 1
        head[ids[then], dimension] = STRONG
    # Every other token is a word: left free, the answer ends after it.
    ordinary = [number for text, number in ids.items() if text not in SPECIAL and text not in PLAIN]
    embedding[ordinary, word] = 1
    head[ids[END], word] = STRONG
    for number in ordinary:
        text = tokenizer.decode([number])
        if text.endswith("["):
            embedding[number, opened] = 1
        if text.startswith("{"):
            head[number, opened] = STRONG
        head[number, word] = GENTLE if text.startswith('"') else -STRONG if "[]" in text else 0
    never = [ids[text] for text in (*SPECIAL, *PLAIN) if text != END]
    head[never, :-WIRED] = 0
    head[never, word] = -STRONG


if __name__ == "__main__":
    main()
