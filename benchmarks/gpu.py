"""On a GPU: every family's sites against the processor, and what a Llama of 8 billion weights takes in bfloat16.

Record, explain, vocabulary decoding of all its neurons and steps of a sparse coder, each with time, peak memory, and
the memory that is stated beforehand. Where there is no CUDA device the same is run on the processor, the Llama at about
a hundredth of its size. Nothing is downloaded; weights are random.
"""

import copy
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shape
import timing
import torch
from costs import Peak

from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Sizes
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.families.spec import family, family_names
from patchclamp.subjects.language import LanguageModel

TOLERANCE = 1e-3
"""Largest difference of a site on the device from the processor's, as a share of its largest value."""
METRIC = Metric("logit_difference", (11,), (12,))


@dataclass(frozen=True)
class Size:
    """Hold how large everything is.

    Args:
        layers, width, heads, kv_heads, mlp, vocabulary: of the Llama.
        tokens: that are recorded.
        prompt: tokens of the prompt that is explained.
        latents: of the sparse coder,
        rows: of its batch.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    tokens: int
    prompt: int
    latents: int
    rows: int


LARGE = Size(32, 4096, 32, 8, 14336, 128_256, tokens=8192, prompt=64, latents=65_536, rows=4096)
SMALL = Size(10, 640, 10, 2, 2240, 8016, tokens=1024, prompt=12, latents=5120, rows=1024)
TINY = Size(2, 64, 4, 2, 128, 500, tokens=256, prompt=6, latents=256, rows=128)


@dataclass(frozen=True)
class Task:
    """One thing that is measured.

    Args:
        name: what it is.
        stated: bytes that are stated beforehand.
        run: does it.
    """

    name: str
    stated: int
    run: Callable[[], object]


def main() -> None:
    parser = timing.parser(__doc__, rounds=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)  # some families name kernels that are not installed
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bars = [compare_families(device)]
    size = TINY if options.quick else LARGE if device == "cuda" else SMALL
    model, measures = llama(size, device), {}
    n_weights = sum(p.numel() for p in model.module.parameters())
    print(f"\n{device}: a Llama of {n_weights:,} weights, {size.layers * size.mlp:,} neurons, bfloat16")
    row = Stimulus.of(shape.ids(1, size.prompt)[0].numpy() % size.vocabulary)
    model.run(row)
    bare = min(timed(lambda: model.run(row), device)[0] for _ in range(3))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for task in tasks(model, size, Path(name), row):
            seconds, grown = timed(task.run, device)
            measures[task.name] = {"seconds": seconds, "peak": grown, "stated": task.stated, "ratio": seconds / bare}
            cells = (f"{seconds:.2f}", f"{seconds / bare:,.0f}", f"{task.stated / 1e6:,.0f}", f"{grown / 1e6:,.0f}")
            rows.append([task.name, *cells])
    timing.show(["", "s", "time / one forward", "stated MB", "measured MB"], rows)
    timing.report(options, {"device": device, "weights": n_weights, **measures}, bars)


def timed(run: Callable[[], object], device: str) -> tuple[float, int]:
    """Return seconds and the growth of the peak: of a GPU's memory, else of the process'."""
    if device == "cpu":
        with Peak() as memory:
            spent = timing.spend(run)
        return spent.wall_s, memory.grown
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    def wait() -> None:
        run()
        torch.cuda.synchronize()

    return timing.spend(wait).wall_s, torch.cuda.max_memory_allocated() - before


def compare_families(device: str) -> timing.Bar:
    """Record every canonical site of every family's tiny model on the processor and on the device."""
    worst, where = 0.0, ""
    for name in family_names():
        module = family(name).tiny().eval()
        here, there = LanguageModel(module, name=name), LanguageModel(copy.deepcopy(module).to(device), name=name)
        vocabulary = module.get_input_embeddings().num_embeddings
        shown = [Stimulus.of(np.random.default_rng(n).integers(1, vocabulary, n)) for n in (5, 8)]
        sites = [site.path for site in here.sites()]
        ours, theirs = (one.run(shown, record=sites) for one in (here, there))
        pairs = {path: (ours.recording[path], theirs.recording[path]) for path in sites}
        for path, (a, b) in {**pairs, "logits": (ours.logits, theirs.logits)}.items():
            if not len(a) and a.shape == b.shape:
                continue  # an expert that no token went to
            gap = float((a.float() - b.cpu().float()).abs().max() / a.float().abs().max().clamp(min=1e-6))
            if not gap <= worst:
                worst, where = gap, f"{name} {path}"
    print(f"{len(family_names())} families on {device}: largest difference {worst:.1e} {where}")
    return timing.Bar(
        f"sites of {len(family_names())} families, {device} / cpu: largest difference", worst, "<=", TOLERANCE
    )


def llama(size: Size, device: str) -> LanguageModel:
    """Return a Llama of random weights in bfloat16, made where it computes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=size.layers, hidden_size=size.width, num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads, intermediate_size=size.mlp, vocab_size=size.vocabulary,
        max_position_embeddings=2048, bos_token_id=size.vocabulary - 1, eos_token_id=size.vocabulary - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    kind = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            module = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(kind)
    return LanguageModel(module.eval(), shape.words(size.vocabulary), name="llama-shape")


def tasks(model: LanguageModel, size: Size, folder: Path, row: Stimulus) -> list[Task]:
    """Return what is measured, with what is stated of each."""
    from patchclamp.describe import describe
    from patchclamp.describe.methods.vocabulary import METHOD as VOCABULARY
    from patchclamp.recipes import explain
    from patchclamp.recipes.explanation_cost import cost_of_explanation
    from patchclamp.record import record_corpus
    from patchclamp.record.stream import memory_bytes
    from patchclamp.subjects.corpora import read_corpus
    from patchclamp.subjects.recordable import select_recordable

    text = folder / "text.txt"
    text.write_text(" ".join(f"w{1 + i % (size.vocabulary - 3)}" for i in range(size.tokens)))
    corpus = Corpus(text, window=128)
    sites, batches = ["blocks.*.resid_out"], read_corpus(model, corpus, batch_size=8)
    made = [
        Task(
            f"record, {size.tokens:,} tokens, {size.layers} sites",
            memory_bytes(model, select_recordable(model, sites), batches, "bfloat16"),
            lambda: record_corpus(model, corpus, sites, folder / "recording", batch_size=8),
        )
    ]
    for method in ("attribution_patching", "integrated_gradients"):
        made.append(
            Task(
                f"explain, {size.prompt} tokens, {method}",
                cost_of_explanation(model, size.prompt, method=method).bytes,
                lambda method=method: explain(model, row, metric=METRIC, method=method, edges=0),
            )
        )
    made.append(
        Task(
            f"vocabulary, {size.layers * size.mlp:,} neurons",
            VOCABULARY.cost(Sizes(), VOCABULARY.make_options({})).bytes,
            lambda: describe(model, method="vocabulary"),
        )
    )
    return [*made, sparse_coder(model, size)]


def sparse_coder(model: LanguageModel, size: Size) -> Task:
    """Return two steps of a TopK coder of the Llama's width."""
    from patchclamp.decompose import ArraySource, TopKConfig
    from patchclamp.decompose.recipe import Job, Recipe, memory_bytes
    from patchclamp.decompose.training import train

    device = str(model.device)
    values = torch.randn(2 * size.rows, size.width, generator=torch.Generator().manual_seed(0)).to(device)
    source, recipe = ArraySource({"x": values}), Recipe(batch_size=size.rows)
    jobs: list[Any] = [Job("x", "x", TopKConfig(size.latents, k=32))]
    return Task(
        f"sparse coder, {size.latents:,} latents, 2 steps of {size.rows:,}",
        memory_bytes(source, jobs, recipe),
        lambda: train(source, jobs, recipe, device=device),
    )


if __name__ == "__main__":
    main()
