"""Vocabulary: every neuron decoded by the unembedding, beside the bare matrix products with top-k.

Random weights in two shapes: GPT-2 small's width and vocabulary, and a slice of Llama-3.1-8B's neurons at its width and
vocabulary. The bare side multiplies the same columns of W_down with the unembedding, in blocks of equal size, and takes
the ten largest of each row: no norm, no probabilities, no names. What is done once a model, however many neurons it has
(names of tokens, cosines of random pairs), is timed by itself and no part of the ratio. Memory is what a describe adds
to the resident peak, of few and of four times as many neurons, each in a process of its own.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import shape
import timing
import torch

from patchclamp.describe.decoding import AT_ONCE
from patchclamp.describe.methods.vocabulary import METHOD
from patchclamp.subjects.language import LanguageModel

TOKENS = 10
SHAPES = {"small": (768, 50257, 2, 3072), "llama": (4096, 128256, 1, 3 * (AT_ONCE // 128256))}
"""Width, vocabulary, blocks, neurons of each."""
WHOLE = 32 * 14336
"""Neurons of Llama-3.1-8B."""
H200 = {"products_per_s": 989e12 * 0.65, "bytes_per_s": 4.8e12 * 0.8}
"""Dense bfloat16 and memory as NVIDIA states them, of which two thirds and four fifths are had in practice."""
PASSES = 8
"""Over the logits: written once, read four times by a radix top-k, twice by softmax, whose output is written."""


def llama(d_model: int, vocabulary: int, blocks: int, neurons: int, dtype: torch.dtype) -> LanguageModel:
    """Return a Llama of this shape with random weights and few attention weights."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    config = LlamaConfig(
        hidden_size=d_model, vocab_size=vocabulary, num_hidden_layers=blocks, intermediate_size=neurons,
        num_attention_heads=max(1, d_model // 128), num_key_value_heads=1, max_position_embeddings=64,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=vocabulary - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        module = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    return LanguageModel(module, shape.words(vocabulary), name="llama-shape", hash="0" * 64)


def bare(model: LanguageModel) -> None:
    """Multiply every neuron's column with the unembedding, block by block, and take the largest of each row."""
    unembedding = model.module.get_output_embeddings().weight.T
    with torch.no_grad():
        for block in model.module.model.layers:
            rows = block.mlp.down_proj.weight.T.contiguous()
            for part in rows.split(max(1, AT_ONCE // unembedding.shape[1])):
                (part @ unembedding).topk(TOKENS, dim=1)


def once(model: LanguageModel) -> None:
    """Do what does not depend on the number of neurons: describe a model's first block cut to no neurons but one."""
    from patchclamp.core.keys import Block
    from patchclamp.describe.decoding import describe_by_tokens

    rows = model.write_directions("blocks.0.mlp.act", slice(0, 1))
    describe_by_tokens(model, [Block("blocks.0.mlp.act", "neurons", 1)], [rows], TOKENS, "")


def added(blocks: int) -> int:
    """Return the bytes that a describe adds to the peak, in a process of its own."""
    words = [sys.executable, __file__, "--json", "/dev/stdout", "--memory", str(blocks)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout))


def measure_memory(blocks: int) -> None:
    """Print what a describe adds to the peak of this process, in bytes."""
    width, vocabulary, _, neurons = SHAPES["small"]
    model = llama(width, vocabulary, blocks, neurons // 4, torch.float32)
    METHOD(llama(64, 1000, 1, 64, torch.float32))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    METHOD(model, tokens=TOKENS)
    print(_peak() - before)


def _peak() -> int:
    """Return the peak of this process's resident memory in bytes."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def main() -> None:
    flags = timing.parser(__doc__, rounds=3)
    flags.add_argument("--memory", type=int, help="print the bytes that a describe of so many blocks adds, and end")
    options = flags.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        measure_memory(options.memory)
        return
    measures: dict[str, Any] = {}
    rows, bars = [], []
    for name, (width, vocabulary, blocks, neurons) in SHAPES.items():
        if options.quick:
            width, vocabulary, neurons = 64, 1000, 256
        for dtype in (torch.float32, torch.bfloat16):
            model = llama(width, vocabulary, blocks, neurons, dtype)
            tasks = {
                "bare": lambda model=model: bare(model),
                "describe": lambda model=model: METHOD(model, tokens=TOKENS),
                "once": lambda model=model: once(model),
            }
            timing.alternate(tasks, 1)
            begun = time.perf_counter()
            spent = timing.alternate(tasks, 1 if options.quick else options.rounds)
            own = [
                timing.Spent(a.wall_s - b.wall_s, a.cpu_s - b.cpu_s)
                for a, b in zip(spent["describe"], spent["once"], strict=True)
            ]
            ratio = timing.ratio(own, spent["bare"])
            kind = str(dtype).removeprefix("torch.")
            middle = {side: timing.median(some).wall_s for side, some in spent.items()}
            rows.append([
                f"{name}, {kind}", f"{blocks * neurons:,} × {vocabulary:,}", *(f"{middle[side]:.2f}" for side in tasks),
                f"{ratio.wall_s:.2f}, {ratio.cpu_s:.2f}",
            ])  # fmt: skip
            measures[f"{name} {kind}"] = {**middle, "ratio": ratio, "seconds": time.perf_counter() - begun}
            bars.append(timing.Bar(f"{name}, {kind}: describe / bare products and top-k", ratio.wall_s, "<=", 1.2))
    timing.show(["", "neurons × tokens", "bare s", "describe s", "once a model s", "ratio (wall, cpu)"], rows)
    few, many = (added(1), added(4)) if not options.quick else (0, 0)
    whole = 4 * 4 * SHAPES["small"][3] // 4 * SHAPES["small"][1]
    print(f"memory added: {few / 2**20:.0f} MB, {many / 2**20:.0f} MB of four times the neurons", end="; ")
    print(f"neurons × vocabulary would be {whole / 2**20:.0f} MB")
    bars.append(timing.Bar("memory added, growth over four times the neurons, MB", (many - few) / 2**20, "<=", 64))
    width, vocabulary, _, _ = SHAPES["llama"]
    logits = WHOLE * vocabulary
    products, moved = 2 * logits * width / H200["products_per_s"], 2 * logits * PASSES / H200["bytes_per_s"]
    print(f"Llama-3.1-8B on an H200, bfloat16, as it can be estimated: {products:.2f} s of products", end=" ")
    print(f"and {moved:.2f} s of passes over {logits:.3g} logits")
    bars.append(timing.Bar("Llama-3.1-8B on an H200, estimated s", products + moved, "<=", 2))
    measures |= {"memory": {"few": few, "many": many}, "h200": {"products_s": products, "passes_s": moved}}
    timing.report(options, measures, bars)


if __name__ == "__main__":
    main()
