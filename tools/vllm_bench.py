"""vLLM's own benchmark of serving, on prompts from a file. Run by the Python that has vLLM, never imported.

    python tools/vllm_bench.py --dataset-name custom --dataset-path FILE …   (the options of `vllm bench serve`)

The program `vllm` of the CPU build does not start, and its reader of such files wants pandas; both are gone round here,
what is measured and how is vLLM's.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from vllm.benchmarks import serve
from vllm.benchmarks.datasets import datasets


def load_data(self: Any) -> None:
    self.data = [json.loads(line) for line in Path(self.dataset_path).read_text(encoding="utf-8").splitlines()]
    random.seed(self.random_seed)


if __name__ == "__main__":
    datasets.CustomDataset.load_data = load_data
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    serve.main(parser.parse_args())
