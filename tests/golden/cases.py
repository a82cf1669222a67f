"""The commands whose figures are kept, each with what must stand before it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STORIES = "{stories}"
"""Stands for the folder of stories260K."""
MOVER, LANGUAGE, CNN, VIT = (f"organism:{name}" for name in ("mover-gpt2", "language-gpt2", "digits-cnn", "digits-vit"))
STORE = "When Mary and John went to the store, John gave a drink to"
OTHER = "When Mary and John went to the store, Mary gave a drink to"
PARK = "{} and {} went to the park. {} gave a book to"
GIRL, BOY = "Lily was a little girl. One day,", "Tim was a little boy. One day,"
TALE = (
    "Once upon a time, there was a little girl named Lily. She loved to play in the park with her dog. One day, she "
    "saw a big red ball near the tree. She was very happy and ran to it. "
    "Her mom said it was time to go home. They ate a "
    "cake and went to bed."
)
PAIRS = [
    *(
        (girl, girl.replace("Lily", "Tim").replace("girl", "boy"), " she", " he")
        for girl in (
            GIRL,
            "The girl was sad because",
            "The big girl said that",
            "One day, the girl was happy because",
            "A little girl had a lot of fun.",
            "Lily was a good girl. One day,",
        )
    ),
    ("Lily was happy. She", "Tim was happy. He", " liked", " went"),
    ("Her mom said, I love", "His dad said, I love", " you", " it"),
]
"""Of stories260K; one is of unequal lengths, one moves nothing."""
NAMES = (("Tom", "Mary"), ("Kate", "Ann"), ("Ben", "Kate"), ("Mary", "Ben"))


@dataclass(frozen=True)
class Case:
    """One command.

    Args:
        name: of its golden file.
        words: what is typed; ``{out}`` is a folder that is not there yet, ``{text}``, ``{tale}``, ``{pairs}`` and
            ``{park}`` are files that ``write_inputs`` writes, ``{stories}`` is a model's folder.
        before: the name of a case whose folder is ``{before}``.
        soak: computed only when the long counts are.
    """

    name: str
    words: tuple[str, ...]
    before: str | None = None
    soak: bool = False

    @property
    def verb(self) -> str:
        """The command's first words."""
        return " ".join(self.words[: 2 if self.words[0] in ("circuit", "atlas") else 1])

    @property
    def is_of_stories(self) -> bool:
        """Whether it takes the model that is not part of the repository."""
        return "stories" in self.name

    @property
    def is_of_digits(self) -> bool:
        """Whether it takes scikit-learn's images."""
        return any(word.startswith("digits:") for word in self.words)


def write_inputs(folder: Path) -> dict[str, str]:
    """Write the texts and pairs that commands read, and return their paths by name."""
    from patchclamp.organisms import language

    documents = language.text(60, seed=3, name="language-gpt2")
    park = [(PARK.format(one, two, two), PARK.format(one, two, one), f" {one}", f" {two}") for one, two in NAMES]
    made = {
        "text": ("text.txt", "\n".join(one.stimulus.text for one in documents)),
        "tale": ("tale.txt", "\n".join([TALE] * 3)),
        "pairs": ("pairs.jsonl", _lines(PAIRS)),
        "park": ("park.jsonl", _lines(park)),
    }
    for name, text in made.values():
        (folder / name).write_text(text, encoding="utf-8")
    return {key: str(folder / name) for key, (name, _) in made.items()}


def _lines(pairs: Sequence[tuple[str, ...]]) -> str:
    names = ("clean", "corrupted", "answer", "wrong")
    return "\n".join(json.dumps(dict(zip(names, pair, strict=True))) for pair in pairs)


def _explain(name: str, model: str, prompt: str, target: str, contrast: str | None, *more: str) -> Case:
    held = () if contrast is None else ("--contrast", contrast)
    return Case(name, ("explain", model, prompt, "--target", target, *held, *more))


def _find(name: str, model: str, pairs: str, *more: str, soak: bool = False) -> Case:
    return Case(name, ("circuit", "find", model, "--pairs", pairs, "--out", "{out}", *more), soak=soak)


def _evaluate(of: str, model: str, pairs: str, *more: str, name: str | None = None, soak: bool = False) -> Case:
    words = ("evaluate", model, "{before}", "--pairs", pairs, "--controls", "20", *more)
    return Case(name or f"evaluate-{of}", words, before=of, soak=soak)


def _patch(name: str, model: str, pairs: str, *more: str, soak: bool = False) -> Case:
    return Case(name, ("patch", model, "--pairs", pairs, "--out", "{out}", *more), soak=soak)


def _survey(name: str, model: str, *more: str) -> Case:
    return Case(name, ("survey", model, *more, "--out", "{out}"))


def _explanations() -> Sequence[Case]:
    mover = (MOVER, STORE, " Mary", " John", "--top", "4")
    park = (LANGUAGE, PARK.format("Mary", "Tom", "Tom"), " Mary", " Tom", "--top", "8")
    other = PARK.format("Mary", "Tom", "Mary")
    tale = (STORIES, GIRL, " she", " he", "--top", "8")
    return (
        _explain("explain-mover", *mover),
        _explain("explain-mover-alone", MOVER, STORE, " Mary", None, "--top", "3"),
        _explain("explain-mover-exact", *mover, "--method", "activation_patching", "--level", "head"),
        _explain("explain-mover-corrupt", *mover[:4], "--counterpart", OTHER, "--method", "relp", "--top", "3"),
        _explain("explain-language", *park),
        _explain(
            "explain-language-corrupt", *park, "--counterpart", other, "--method", "attribution_patching", "--seed", "1"
        ),
        _explain("explain-language-relp", *park, "--method", "relp", "--controls", "30"),
        _explain("explain-language-exact", *park, "--method", "activation_patching", "--level", "head"),
        _explain("explain-language-alone", *park[:3], None, "--level", "neuron", "--top", "12"),
        _explain(
            "explain-language-feature",
            *park,
            "--level",
            "feature",
            "--basis",
            "{basis}",
            "--method",
            "attribution_patching",
        ),
        _explain("explain-cnn", CNN, "digits:17", "3", "8", "--top", "6"),
        _explain(
            "explain-cnn-corrupt",
            CNN,
            "digits:3",
            "3",
            "8",
            "--counterpart",
            "digits:8",
            "--method",
            "attribution_patching",
        ),
        _explain("explain-vit", VIT, "digits:13", "3", "8", "--top", "8", "--method", "relp"),
        _explain(
            "explain-vit-exact", VIT, "digits:13", "3", None, "--method", "activation_patching", "--level", "head"
        ),
        _explain("explain-stories", *tale),
        _explain("explain-stories-corrupt", *tale, "--counterpart", BOY, "--method", "relp"),
    )


def _circuits() -> Sequence[Case]:
    train = (LANGUAGE, "task:ioi/train", "--n", "8")
    few = (LANGUAGE, "task:ioi/train", "--n", "4")
    edges, neurons = (*few, "--level", "edge"), (*few, "--level", "neuron")
    atp, ig = ("--method", "attribution_patching"), ("--method", "integrated_gradients")
    return (
        _find("find-mover", MOVER, "planted"),
        _find("find-mover-edge", MOVER, "planted", "--level", "edge"),
        _find("find-mover-neuron", MOVER, "planted", "--level", "neuron", "--top", "4"),
        _find("find-language", *train),
        _find("find-language-relp", *train, "--method", "relp"),
        _find("find-language-atp-denoise", *train, *atp, "--direction", "denoise"),
        _find("find-language-denoise", *train, "--method", "activation_patching", "--direction", "denoise"),
        _find("find-language-ig-positions", LANGUAGE, "{park}", "--by-position", *ig, "--steps", "4"),
        _find("find-language-edge", *edges, "--method", "eap_ig", "--steps", "5"),
        _find("find-language-edge-patch", LANGUAGE, "task:ioi/train", "--n", "3", "--level", "edge", soak=True),
        _find("find-language-edge-eap-denoise", *edges, "--method", "eap", "--direction", "denoise"),
        _find("find-language-edge-relp", *edges, "--method", "relp", "--controls", "25", "--seed", "2"),
        _find("find-language-neuron-atp", *neurons, *atp),
        _find("find-language-neuron-ig", *neurons, *ig),
        _find("find-language-feature", *train, "--level", "feature", "--basis", "{basis}", *atp),
        _find("find-stories", STORIES, "{pairs}"),
        _find("find-stories-edge", STORIES, "{pairs}", "--level", "edge", "--method", "relp", soak=True),
        _find("find-stories-neuron", STORIES, "{pairs}", "--level", "neuron", "--method", "relp"),
        _evaluate("find-language", LANGUAGE, "task:ioi", "--n", "8"),
        _evaluate("find-language-edge", LANGUAGE, "task:ioi", "--n", "4", "--magnitude", soak=True),
        _evaluate("find-language-neuron-atp", LANGUAGE, "task:ioi", "--n", "4", "--sizes", "3,7.5%"),
        _evaluate(
            "find-language", LANGUAGE, "task:ioi", "--n", "6", "--baseline", "mean", "--train", "task:ioi/train",
            name="evaluate-find-language-mean", soak=True,
        ),
        _evaluate("find-stories", STORIES, "{pairs}", "--seen"),
    )  # fmt: skip


def _others() -> Sequence[Case]:
    ioi = (LANGUAGE, "task:ioi", "--n", "4")
    return (
        _patch("patch-language", *ioi),
        _patch("patch-language-noise", *ioi, "--direction", "noise", "--sites", "head", "--positions=-1,-2"),
        _patch("patch-language-all", *ioi, "--sites", "head,mlp", "--positions", "all"),
        _patch("patch-language-neuron", *ioi, "--sites", "blocks.2.mlp.act/neurons", "--positions=-1", soak=True),
        _patch("patch-language-agreement", LANGUAGE, "task:agreement", "--n", "4"),
        _patch("patch-mover", MOVER, "planted", "--sites", "resid,head"),
        _patch("patch-stories", STORIES, "{pairs}", "--sites", "attn,mlp,head"),
        Case("calibrate-neuron-decoy", ("calibrate", "neuron-gpt2", "decoy-gpt2")),
        Case("calibrate-backup", ("calibrate", "backup-gpt2")),
        Case("calibrate-language", ("calibrate", "language-gpt2", "--tasks", "facts", "--pairs", "4")),
        Case("calibrate-planted", ("calibrate",), soak=True),
        Case("calibrate-tasks", ("calibrate", "language-gpt2", "--tasks", "ioi,days", "--pairs", "6"), soak=True),
        _survey("survey-language", LANGUAGE, "--inputs", "{text}", "--sites", "blocks.*.mlp.act,blocks.*.resid_out",
                "--window", "64"),
        _survey("survey-language-skip", LANGUAGE, "--inputs", "{text}", "--sites", "blocks.1.attn.z", "--window", "20",
                "--skip-first", "2", "--no-bos", "--max-tokens", "700"),
        _survey("survey-cnn", CNN, "--inputs", "digits:0:40", "--sites", "blocks.*.conv1.act"),
        _survey("survey-vit", VIT, "--inputs", "digits:40:60", "--sites", "blocks.*.mlp.act"),
        _survey("survey-stories", STORIES, "--inputs", "{tale}", "--sites", "blocks.*.mlp.act", "--window", "32"),
        Case(
            "bake-language", ("atlas", "bake", LANGUAGE, "--inputs", "{text}", "--out", "{out}", "--max-tokens", "600")
        ),
        Case("atlas-language", ("atlas", "info", "{before}"), before="bake-language"),
        Case("bake-stories", ("atlas", "bake", STORIES, "--inputs", "{tale}", "--out", "{out}")),
        Case("atlas-stories", ("atlas", "info", "{before}"), before="bake-stories"),
    )  # fmt: skip


BASIS = ("decompose", LANGUAGE, "--sites", "blocks.2.mlp.act", "--inputs", "{text}", "--method", "random",
         "--n-features", "24", "--k", "8", "--out", "{out}")  # fmt: skip
"""Makes ``{basis}``: random directions, so that no training stands between a seed and its figures."""
CASES = (*_explanations(), *_circuits(), *_others())
