"""Plan: everything that decides a run's bytes, fixed before the first forward pass."""

import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from patchclamp.core.arguments import Natural
from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import file_hash, free_bytes, writing
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown, Stimulus, as_planned, changed_meanwhile
from patchclamp.record.features import Features
from patchclamp.subjects.images import Gallery, gallery
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.plain import PlainModel
from patchclamp.subjects.text import conversations, windows
from patchclamp.subjects.vision import VisionModel


@dataclass(frozen=True)
class Plan:
    """The batches of one run over a text.

    Args:
        text: SHA-256 of the text file.
        window: tokens per stimulus.
        bos: whether windows begin as the tokenizer begins a text.
        chat: whether lines went through the chat template.
        batch_size: stimuli per forward pass, in text order, padded on the right.
        max_tokens: where the text was cut; None for its end.
        n_stimuli: how many stimuli there are.
        n_tokens: how many tokens, special ones included.
        stimuli: SHA-256 over the stimulus ids in order.
        threads: threads that compute; other counts may round differently.
        seed: of the survey's sample.
        skip_first: how many tokens at the beginning of each window no statistics count.
    """

    text: str
    window: int
    bos: bool
    chat: bool
    batch_size: int
    max_tokens: int | None
    n_stimuli: int
    n_tokens: int
    stimuli: str
    threads: int
    seed: int
    skip_first: int = 0


@dataclass(frozen=True)
class ImagePlan:
    """The batches of one run over images.

    Args:
        batch_size: images per forward pass, in order.
        max_images: where they were cut; None for all.
        n_stimuli: how many images.
        stimuli: SHA-256 over their ids in order.
        threads: threads that compute; other counts may round differently.
        seed: of the survey's sample.
    """

    batch_size: int
    max_images: int | None
    n_stimuli: int
    stimuli: str
    threads: int
    seed: int

    @property
    def n_tokens(self) -> int:
        """What progress counts: images."""
        return self.n_stimuli


@dataclass(frozen=True)
class Showing:
    """What is shown, batch after batch.

    Args:
        plan: the batches.
        batches: yields them from a stimulus on, which must be where a batch begins, or the end; what is no longer as
            planned is refused, of a text after its last batch.
    """

    plan: Plan | ImagePlan
    batches: Callable[[int], Iterator[tuple[Shown, ...]]]


class Cutting(TypedDict, total=False):
    """How a text is cut into stimuli, with the defaults of ``make_plan``.

    Args:
        window: tokens per stimulus, without overlap (128).
        max_tokens: stop after so many (None: at the text's end).
        batch_size: stimuli per forward pass (8).
        chat: each line is a user message, or a JSON list of messages, put through the chat template (False).
        bos: begin each window as the tokenizer begins a text (True).
        seed: of the survey's sample (0).
        skip_first: tokens at the beginning of each window that no statistics count, the tokenizer's own beginning
            among them (0). First tokens of many models have norms a hundred times those of all others.
    """

    window: int
    max_tokens: int | None
    batch_size: int
    chat: bool
    bos: bool
    seed: Natural
    skip_first: Natural


def make_plan(
    model: LanguageModel,
    text: str | Path,
    *,
    window: int = 128,
    max_tokens: int | None = None,
    batch_size: int = 8,
    chat: bool = False,
    bos: bool = True,
    seed: int = 0,
    skip_first: int = 0,
) -> Plan:
    """Cut a text into stimuli and fix their order; see ``Cutting`` for the options.

    Raises:
        PatchclampError: no text there, or numbers that make no sense.

    Cost: one tokenisation of the text; memory of one passage.
    """
    check_counts({"--window": window, "--batch-size": batch_size, "--max-tokens": max_tokens})
    if model.context is not None and window > model.context:
        raise PatchclampError(
            expected=f"a window of at most {model.context} tokens, the model's context",
            got=str(window),
            remedy="Shorten it.",
        )
    check_skip(skip_first, window)
    digest, n_stimuli, n_tokens = hashlib.sha256(), 0, 0
    for stimulus in _cut(model, text, window, max_tokens, chat, bos):
        digest.update(stimulus.id.encode())
        n_stimuli, n_tokens = n_stimuli + 1, n_tokens + len(stimulus)
    return Plan(
        text=file_hash(Path(text)), window=window, bos=bos, chat=chat, batch_size=batch_size, max_tokens=max_tokens,
        n_stimuli=n_stimuli, n_tokens=n_tokens, stimuli=digest.hexdigest(), threads=torch.get_num_threads(), seed=seed,
        skip_first=skip_first,
    )  # fmt: skip


def show_text(model: LanguageModel, text: str | Path, plan: Plan | None = None, **cutting: Unpack[Cutting]) -> Showing:
    """Return a text as it is shown: the plan's batches."""
    made = plan or make_plan(model, text, **cutting)
    return Showing(made, lambda start: batches(model, text, made, start=start))


def show_images(
    model: VisionModel, images: Any, *, max_images: int | None = None, batch_size: int = 8, seed: int = 0
) -> Showing:
    """Fix the order of images and return them as they are shown.

    Args:
        model: the subject.
        images: as for ``VisionModel.stimuli``: a path, an array, a gallery, a list of these.
        max_images: stop after so many (None: all).
        batch_size: images per forward pass.
        seed: of the survey's sample.

    Raises:
        PatchclampError: no images there, or numbers that make no sense.

    Cost: reads every image once.
    """
    check_counts({"--batch-size": batch_size, "--max-images": max_images})
    held = gallery(images) if isinstance(images, str | Path) else images
    held = held if isinstance(held, Gallery) else Gallery.of(model.stimuli(held))
    n = len(held) if max_images is None else min(max_images, len(held))
    ids = [held.read(i).id for i in range(n)]
    plan = ImagePlan(
        batch_size=batch_size, max_images=max_images, n_stimuli=n,
        stimuli=hashlib.sha256("".join(ids).encode()).hexdigest(),
        threads=torch.get_num_threads(), seed=seed,
    )  # fmt: skip

    def batches_from(start: int) -> Iterator[tuple[Shown, ...]]:
        for k in range(start, n, batch_size):
            batch = tuple(held.read(i) for i in range(k, min(k + batch_size, n)))
            if [image.id for image in batch] != ids[k : k + batch_size]:
                raise changed_meanwhile("images")
            yield batch

    return Showing(plan, batches_from)


def check_skip(skip_first: int, window: int) -> None:
    """Refuse to skip tokens that a window has not.

    Raises:
        PatchclampError: nothing would be left.
    """
    if not 0 <= skip_first < window:
        raise PatchclampError(
            expected=f"--skip-first from 0 to {window - 1}, below the window of {window} tokens",
            got=str(skip_first),
            remedy="Give a smaller number.",
        )


def check_counts(counts: Mapping[str, int | None]) -> None:
    """Refuse counts below one, and those beyond what is counted with.

    Raises:
        PatchclampError: names the option.
    """
    for name, value in counts.items():
        if value is not None and not 1 <= value < 2**31:
            raise PatchclampError(
                expected=f"{name} from 1 to {2**31 - 1}", got=str(value), remedy="Give a number in that range."
            )


def batches(model: LanguageModel, text: str | Path, plan: Plan, *, start: int = 0) -> Iterator[tuple[Stimulus, ...]]:
    """Yield the plan's batches from stimulus ``start`` on; start must be where a batch begins, or the end.

    Raises:
        PatchclampError: after the last batch, where the text is no longer the one that was planned on.
    """
    stimuli = _cut(model, text, plan.window, plan.max_tokens, plan.chat, plan.bos)
    rest = islice(as_planned(stimuli, plan.stimuli), start, None)
    # itertools.batched needs Python 3.12
    whole = iter(lambda: tuple(islice(rest, plan.batch_size)), ())
    counted = slice(plan.skip_first, None)
    return (tuple(stimulus.skipping(counted) for stimulus in batch) for batch in whole)


def _cut(
    model: LanguageModel, text: str | Path, window: int, max_tokens: int | None, chat: bool, bos: bool
) -> Iterator[Stimulus]:
    cut = conversations if chat else windows
    left = max_tokens
    for stimulus in cut(model.tokenizer, text, window=window, bos=bos):
        if left is not None:
            if left <= 0:
                return
            if len(stimulus) > left:
                stimulus = Stimulus(stimulus.ids[:left], stimulus.roles[:left], stimulus.spans[:left])
            left -= len(stimulus)
        yield stimulus


def manifest_of(
    model: LanguageModel | VisionModel | PlainModel | Features,
    sites: Sequence[Site],
    plan: Plan | ImagePlan,
    **more: Any,
) -> dict[str, Any]:
    """Return the manifest: subject, sites, plan and versions; of images also that they are, of features their bases."""
    prepared: dict[str, Any] = {}
    if isinstance(model, VisionModel):
        prepared = {"preparation": model.prepare.hash}
    elif not isinstance(model, PlainModel):
        prepared = {"tokenizer": model.tokenizer_hash}
    if isinstance(model, Features):
        more = {**more, "bases": {path: basis.hash for path, basis in model.bases.items()}}
    if isinstance(plan, ImagePlan):
        more = {**more, "stimuli": "arrays" if isinstance(model, PlainModel) else "images"}
    return {
        "subject": {
            "slug": model.name,
            "hash": model.hash,
            **prepared,
            "class": type(model.module).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "attention": str(getattr(getattr(model.module, "config", None), "_attn_implementation", None)),
        },
        "sites": [site.to_json() for site in sites],
        "plan": {name: value for name, value in asdict(plan).items() if (name, value) != ("skip_first", 0)},
        "versions": {
            "patchclamp": version("patchclamp"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        **more,
    }


@contextmanager
def begun(out: str | Path, kind: str, manifest: dict[str, Any], *, resume: bool) -> Iterator[Bundle]:
    """Start a bundle, or open the interrupted one whose manifest is the same, and hold it for this process alone.

    Raises:
        PatchclampError: ``resume`` with another model, text or images, plan or version; each difference is named.
    """
    with writing(out):
        if not resume or not (Path(out) / "manifest.json").exists():
            yield Bundle.create(out, kind=kind, manifest=manifest)
            return
        bundle = Bundle.open(out, kind=kind)
        fresh, kept = _flat(manifest), _flat({k: bundle.manifest.get(k) for k in manifest})
        # A resume computes with the threads that the run was begun with, whatever this process has.
        fresh["plan.threads"] = kept.get("plan.threads")
        changed = [f"{k}: {kept.get(k)!s:.60} then, {fresh.get(k)!s:.60} now" for k in fresh if fresh[k] != kept.get(k)]
        if changed or fresh.keys() != kept.keys():
            what = "pairs" if kind == "finding" else manifest.get("stimuli", "text")
            raise PatchclampError(
                expected=f"the same model, {what} and plan as {out} was begun with",
                got="; ".join(changed[:4]) or "another set of sites",
                remedy="Resume with the same options, or choose a new --out.",
            )
        bundle.resume()
        yield bundle


@contextmanager
def computing(bundle: Bundle) -> Iterator[None]:
    """Compute with as many threads as the bundle's plan says; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(int(bundle.manifest["plan"]["threads"]), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict):
        return {k: v for name, value in data.items() for k, v in _flat(value, f"{prefix}{name}.").items()}
    if isinstance(data, list):
        # sites: what matters to a reader is which
        data = ", ".join(str(item["path"] if isinstance(item, dict) else item) for item in data)
    return {prefix.rstrip("."): data}


def refuse_if_too_large(out: str | Path, n_bytes: int) -> None:
    """Refuse a run whose files would not fit on the disk; what an interrupted run has written counts as room.

    Raises:
        PatchclampError: with the two sizes.
    """
    free = free_bytes(Path(out)) + sum(file.stat().st_size for file in Path(out).glob("*.safetensors"))
    if n_bytes > free:
        raise PatchclampError(
            expected=f"{n_bytes:,} bytes free for {out}",
            got=f"{free:,}",
            remedy="Record fewer sites or tokens (--max-tokens), store float16, or survey instead.",
        )
