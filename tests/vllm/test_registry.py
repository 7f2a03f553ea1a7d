"""The example registry names parsers and options that the installed vLLM has; ours are among its options."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from diwan.pool.registry import NOT_IN_ARGUMENTS, Registry
from tests.vllm.server import ENVIRONMENT, ROOT

MODELS = Registry.model_validate_json((ROOT / "deploy" / "registry.example.json").read_bytes()).models
_ASK = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
options = sorted(make_arg_parser(FlexibleArgumentParser())._option_string_actions)
found = [ToolParserManager.list_registered(), ReasoningParserManager.list_registered(), options]
sys.stdout.write("\\nFOUND " + json.dumps(found))
"""


@pytest.fixture(scope="module")
def known() -> tuple[list[str], list[str], list[str]]:
    """Tool parsers, reasoning parsers and options of `vllm serve`, as it lists them."""
    done = subprocess.run(
        [str(ENVIRONMENT / "bin" / "python"), "-c", _ASK],
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FOUND " in done.stdout, done.stderr[-2000:]
    return tuple(json.loads(done.stdout.rpartition("FOUND ")[2]))


def test_every_entry_can_be_served(known: tuple[list[str], list[str], list[str]]) -> None:
    tools, reasoning, options = known
    for model in MODELS:
        assert model.tool_parser in tools
        assert model.reasoning_parser in ("", *reasoning)
        assert {word for word in model.engine_args if word.startswith("--")} <= set(options)


def test_what_is_kept_from_entries_are_options_of_vllm(known: tuple[list[str], list[str], list[str]]) -> None:
    """A renamed option would be let through under its new name."""
    gone = [name for name in NOT_IN_ARGUMENTS if f"--{name}" not in known[2]]
    assert gone == []
