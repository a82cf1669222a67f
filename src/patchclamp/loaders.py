"""From a name, a folder or a module to a subject."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import Any, Literal

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.metric import MetricKind
from patchclamp.core.recording import Recording
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task

ORGANISM, NET = "organism:", "net:"
TASK, TRAIN, PLANTED = "task:", "/train", "planted"
TASK_CASES, MOST_CASES = 64, 100_000


@checked
def load(
    name: str | PathLike[str],
    *,
    base: str | PathLike[str] | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    attention: Literal["eager", "sdpa"] | None = None,
    prepend_bos: bool = False,
) -> Any:
    """Load a language model, a classifier of texts or of images, or an adapter merged into its model, into the rig.

    Args:
        name: a local folder, a Hugging Face name (``NAME@REVISION`` for a branch, tag or commit), ``organism:NAME`` for
            a network that ships with the package, or ``net:NAME`` for a small one of a kind that the package brings as
            code, with weights of chance, on the cpu.
        base: of an adapter (LoRA and its like), the model that it is merged into, where not the one that its config
            names.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``: accelerate places the weights, on the disk what fits nowhere
            else; ``auto:cpu=8GiB,cuda:0=20GiB`` bounds what each takes.
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default the checkpoint's own.
        attention: ``eager`` or ``sdpa``; by default transformers' choice.
        prepend_bos: begin every text with the tokenizer's BOS token, where the tokenizer does not by itself.

    Returns:
        LanguageModel | TextClassifier | VisionModel | PlainNetwork: the subject.

    Raises:
        PatchclampError: nothing there, pickled weights, remote code, missing weights, an adapter that cannot be merged,
            no BOS token to begin with, or options of a checkpoint with a network that is code.

    Example:
        >>> load("organism:cat").name
        'cat'
    """
    name = fspath(name)
    if name.startswith(NET):
        from patchclamp.core.errors import PatchclampError
        from patchclamp.subjects.nets import build as build_net

        if device != "cpu" or prepend_bos or not (dtype is None and attention is None and base is None):
            raise PatchclampError(
                expected="net:NAME alone",
                got="further options",
                remedy="Make the module yourself, move it, and lay it in the rig with pc.wrap.",
            )
        return build_net(name.removeprefix(NET))
    if name.startswith(ORGANISM):
        from patchclamp.core.errors import PatchclampError
        from patchclamp.organisms import build

        if base is not None:
            raise PatchclampError(expected="an adapter, which alone has a base", got=name, remedy="Leave the base out.")
        model: Any = build(name.removeprefix(ORGANISM), device=device, dtype=dtype)
        if attention is not None:
            model.module.set_attn_implementation(attention)
    else:
        from patchclamp.subjects.loading import load_model

        below = None if base is None else fspath(base)
        model = load_model(name, base=below, device=device, dtype=dtype, attention=attention)
    if prepend_bos:
        from patchclamp.subjects.text import prepend_bos as put_first

        put_first(model)
    return model


@checked
def load_basis(
    source: str | PathLike[str],
    *,
    site: str | None = None,
    name: str | None = None,
    center: bool | None = None,
    prepend_bos: bool | None = None,
) -> Any:
    """Load a dictionary of features: what ``decompose`` wrote, or a folder of SAELens, sparsify or Gemma Scope.

    Args:
        source: a folder, or ``owner/repository/folder`` on the Hugging Face hub.
        site: the site that it writes, where the folder does not tell.
        name: what its units are called in keys, instead of the folder's own name for them.
        center: whether the residual stream that it was trained on was centred (TransformerLens'
            ``center_writing_weights``), where its folder does not tell; the mean is then taken off first.
        prepend_bos: whether the texts that it was trained on began with a BOS token, where its folder does not tell.

    Returns:
        Dictionary: a basis for each site; ``model.add_dictionary`` takes it. ``about["conditions"]`` holds what is
            known of its input, ``about["assumed"]`` a line for each thing that is not.

    Raises:
        PatchclampError: nothing there, no dictionary, or a site that nobody tells.
        Damaged: parts missing or changed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from patchclamp.core.basis import Basis
        >>> from patchclamp.core.dictionary import Dictionary
        >>> lab = Basis("lab", "directions", decoder=np.eye(16, dtype=np.float32))
        >>> with TemporaryDirectory() as folder:
        ...     Dictionary({"blocks.0.mlp.act": lab}, {"slug": "cat"}, "by hand").save(folder)
        ...     load_basis(folder).name
        'lab'
    """
    from patchclamp.decompose.formats import open_dictionary

    return open_dictionary(fspath(source), site=site, name=name, center=center, prepend_bos=prepend_bos)


@checked
def open_task(
    source: str | PathLike[str] | Task,
    subject: Any = None,
    *,
    layout: str | None = None,
    n: int | None = None,
    seed: Natural = 0,
    measure: MetricKind | None = None,
) -> Task:
    """Open a task by name; ``subject.read(task)`` then turns it into what one subject is shown.

    Args:
        source: a CSV or JSONL file of clean and corrupted prompts, or what ``Task.save`` wrote; ``task:NAME``,
            questions of a language organism that its training never saw (``task:NAME/train``: of the kind that it saw);
            ``planted``, the prompts of a planted organism's card; or a Task.
        subject: the organism, or its name, for ``task:NAME`` and ``planted``.
        layout: of a file: see ``read_task`` (default: found by its columns).
        n: how many cases, drawn by ``seed`` in the source's order (default: all of a file, 64 of ``task:NAME``); those
            that a subject then skips are among them.
        seed: of the draw.
        measure: m (default: ``logit_difference``), or ``probability_difference`` where a case has several answers.

    Raises:
        PatchclampError: no such file, task or organism, or lines that are no cases.

    Example:
        >>> len(open_task("task:ioi", "language-gpt2", n=4))
        4
    """
    from patchclamp.core.errors import PatchclampError
    from patchclamp.core.task_files import measure_of

    if n is not None and not 1 <= n <= MOST_CASES:
        raise PatchclampError(
            expected=f"1 to {MOST_CASES:,} cases", got=str(n), remedy="Give another number, or leave it out."
        )
    task = source if isinstance(source, Task) else _task_of(fspath(source), subject, layout, n, seed)
    if n is not None and n < len(task):
        from random import Random

        chosen = sorted(Random(f"pairs/{seed}").sample(range(len(task)), n))
        task = replace(task, cases=tuple(task.cases[i] for i in chosen))
        if not isinstance(source, Task):
            task = replace(task, measure=measure_of(task.cases))
    return task if measure is None else replace(task, measure=measure)


@checked
def open_text(
    model: Any,
    sites: str | Sequence[str],
    n_tokens: Natural,
    *,
    source: str | PathLike[str] | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> Recording:
    """Record a language model over ordinary text, in memory: a file's, or what the model itself writes.

    Args:
        model: a language model.
        sites: what to record.
        n_tokens: tokens at least; a file that has fewer is recorded whole.
        source: a UTF-8 text file; by default text that the model samples at temperature 1, after the token that begins
            or ends its texts.
        seed: of the sampling.
        progress: called with tokens recorded and in all.

    Returns:
        Recording: windows of 48 tokens.

    Raises:
        PatchclampError: no text, or a model that does not continue text or has no token to begin with.

    Cost: a forward pass per window; without a source also the writing of it, 48 steps per window.

    Example:
        >>> len(open_text(load("organism:cat"), "blocks.0.mlp.act", 20).stimuli) > 0
        True
    """
    from patchclamp.core.corpus import Corpus
    from patchclamp.subjects.corpora import read_corpus
    from patchclamp.subjects.sampled_text import WINDOW, join_recordings, write_text

    batches: Iterator[Any]
    if source is None:
        batches = write_text(model, seed=seed)
    else:
        corpus = Corpus(fspath(source), window=WINDOW, max_tokens=2 * max(n_tokens, 1))
        batches = iter(read_corpus(model, corpus))
    parts, done = [], 0
    for batch in batches:
        run = model.run(list(batch), record=sites, logits=False)
        parts.append(run.recording.to_numpy())
        done += sum(int(one.counted.sum()) for one in batch)
        if progress is not None:
            progress(min(done, n_tokens), max(n_tokens, 1))
        if done >= n_tokens:
            break
    return join_recordings(parts, model)


def _task_of(source: str, subject: Any, layout: str | None, n: int | None, seed: int) -> Task:
    from patchclamp.core.errors import PatchclampError
    from patchclamp.core.task_files import read_task

    if source != PLANTED and not source.startswith(TASK):
        return read_task(source, layout)
    if layout is not None:
        raise PatchclampError(
            expected="a file of cases, which alone has a layout",
            got=f"{source} with the layout {layout!r}",
            remedy="Leave the layout out.",
        )
    from patchclamp.organisms import card, language, planted

    name = str(getattr(subject, "name", subject))
    if source == PLANTED:
        if name not in planted.names():
            raise PatchclampError(
                expected="a planted organism",
                got=name,
                remedy="Give a file of prompts, or task:NAME for a language organism.",
            )
        known = card(name)
        return Task.of(known["prompt"], known["target"], contrast=known["contrast"], counterpart=known["corrupt"])
    if name not in language.names():
        raise PatchclampError(
            expected=f"one of the organisms {', '.join(language.names())}, which have tasks",
            got=name,
            remedy="Give a file of prompts; `planted` for a planted organism.",
        )
    held_out = not source.endswith(TRAIN)
    kind = source.removeprefix(TASK).removesuffix(TRAIN)
    return language.task(kind, n or TASK_CASES, seed=seed, held_out=held_out, name=name)


@checked
def wrap(
    module: Any,
    example_inputs: Any = None,
    *,
    tokenizer: Any = None,
    prepare: Any = None,
    name: str | None = None,
    output: Sequence[str] | None = None,
    heads: Mapping[str, int] | None = None,
) -> Any:
    """Lay a module that is already in memory in the rig.

    Args:
        module: any ``nn.Module``; a Hugging Face causal language model or image classifier gets its canonical sites.
        example_inputs: a tensor or tuple of tensors that it accepts; not needed for a language model, nor for an image
            classifier whose processor or config says the size.
        tokenizer: of a language model, or of a plain module that takes token ids; it can then be shown text.
        prepare: for a module that is shown images: a transformers image processor, a function from ``(y, x, channel)``
            whole numbers to ``(channel, y, x)``, or ``"scale"``, which divides by 255.
        name: what to call it in keys.
        output: of a plain module, the axes of what it returns, such as ``("stimulus", "class", "position")``; without
            them it is read as ``(stimulus, position, class)`` or ``(stimulus, class)``.
        heads: of a plain module, pattern of site paths to the number of heads that share its width, block by block.

    Returns:
        LanguageModel | VisionModel | PlainNetwork: the subject.

    Raises:
        PatchclampError: a plain module without example inputs, or axes or heads of another kind of model.

    Example:
        >>> import torch
        >>> wrap(torch.nn.Linear(2, 3), torch.zeros(1, 2), name="toy").name
        'toy'
    """
    from patchclamp.core.errors import PatchclampError

    pictured = prepare is not None or type(module).__name__.endswith("ForImageClassification")
    # An encoder-decoder is shown two texts, as the tensors that it takes.
    paired = bool(getattr(getattr(module, "config", None), "is_encoder_decoder", False))
    known = not paired and hasattr(module, "get_output_embeddings") and module.get_output_embeddings() is not None
    if (pictured or known) and not (output is None and heads is None):
        raise PatchclampError(
            expected="output= and heads= only with a plain module",
            got=f"one of them with {type(module).__name__}",
            remedy="Leave them out: such a model's axes and heads are known.",
        )
    if pictured:
        if tokenizer is not None:
            raise PatchclampError(
                expected="a tokenizer only with a module that takes token ids",
                got=f"one with {type(module).__name__}, which is shown images",
                remedy="Leave tokenizer= out.",
            )
        return _wrap_images(module, example_inputs, prepare, name)
    if known:
        from patchclamp.subjects.language import LanguageModel

        return LanguageModel(module, tokenizer, name=name)
    if example_inputs is None and type(module).__name__.endswith("ForSequenceClassification"):
        from patchclamp.subjects.classifier import TextClassifier

        return TextClassifier(module, tokenizer, name=name)
    if example_inputs is None:
        raise PatchclampError(
            expected="example inputs with a plain module",
            got=type(module).__name__,
            remedy="Pass a tensor, or a tuple of tensors, that the module accepts.",
        )
    from patchclamp.subjects.plain import PlainNetwork

    return PlainNetwork(module, example_inputs, tokenizer=tokenizer, name=name, output=output, heads=heads)


def _wrap_images(module: Any, example: Any, prepare: Any, name: str | None) -> Any:
    from patchclamp.core.errors import PatchclampError
    from patchclamp.subjects.images import Preparation
    from patchclamp.subjects.loading import preparation_of
    from patchclamp.subjects.vision import VisionModel

    processor = None if isinstance(prepare, str) else prepare
    if isinstance(prepare, str) and prepare != "scale":
        raise PatchclampError(
            expected="an image processor, a function, or 'scale'", got=repr(prepare), remedy="Give one of these."
        )
    if example is None and hasattr(module, "config"):
        return VisionModel(module, preparation_of(module, processor), name=name)
    shape = getattr(example, "shape", ())
    if len(shape) != 4:
        raise PatchclampError(
            expected="an example (image, channel, y, x) with a module that is shown images",
            got=f"{type(example).__name__} of shape {tuple(shape)}",
            remedy="Pass a tensor of the shape that it takes, such as torch.zeros(1, 3, 32, 32).",
        )
    return VisionModel(module, Preparation(processor, shape=tuple(shape[1:])), name=name)
