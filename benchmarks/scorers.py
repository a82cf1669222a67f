"""Scorers scored: rules are mined on one half of a language organism's text and are true or not on the other half.

The halves share no template and no filler. Prints the tables of docs/results/scorers.md.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timing  # noqa: F401  nothing here may go looking for a model by itself

SITE, FEATURES = "blocks.2.resid_out", "features"
SCORERS = ("detection", "fuzzing", "simulation", "embedding")
AUTHORS = {"rules": {}, "rules without labels": {}, "the top token": {"kinds": ("token",)}}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("organism", nargs="?", default="language-gpt2")
    options.add_argument("--documents", type=int, default=4000)
    options.add_argument("--neurons", type=int, default=64, help="of each block")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(chosen.organism, Path(folder), chosen.documents, chosen.neurons)


def run(name: str, folder: Path, n: int, neurons: int) -> None:
    """Describe, score and compare with the truth."""
    from patchclamp.calibrate.described_truth import correlate, measure_truth, record_labelled
    from patchclamp.core.corpus import Corpus
    from patchclamp.core.descriptions import Descriptions
    from patchclamp.core.method_files import find_method
    from patchclamp.describe.evidence import EvidenceOptions, draw_evidence
    from patchclamp.describe.judges.rule import RuleJudge
    from patchclamp.describe.methods.rule import METHOD
    from patchclamp.describe.readers import CountEncoder
    from patchclamp.describe.score import shuffle_descriptions
    from patchclamp.organisms import language

    begun, subject = time.monotonic(), language.build(name)
    file = folder / "half.jsonl"
    half = language.text_of_half(0, n, seed=1, model=subject)
    lines = [json.dumps(one.to_json(subject.tokenizer.token), ensure_ascii=False) for one in half]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpus = Corpus(file, kind="documents")
    bases = {SITE: make_features(subject, half)}
    rng = np.random.default_rng(0)
    width = subject.site("blocks.0.mlp.act").width
    units = [
        *(f"blocks.{b}.mlp.act/neurons/{u}" for b in range(4) for u in sorted(rng.permutation(width)[:neurons])),
        "blocks.*.attn.z/heads",
        f"{SITE}/{FEATURES}",
    ]
    drawn = {
        how: draw_evidence(
            subject, corpus, units, EvidenceOptions(sampling=how), folder=folder / how, bases=bases, batch_size=64
        )
        for how in ("quantile", "top")
    }
    evidence = drawn["quantile"]
    print(f"## {name}\n\n{evidence.table().rows}\n", flush=True)
    truth_text = language.text_of_half(1, n // 2, seed=2, model=subject)
    labelled = record_labelled(subject, truth_text, evidence, units, bases=bases)

    def describe(source: Any, author: str, with_labels: bool) -> Any:
        given = {"corpus": corpus} if with_labels else {}
        parts = [METHOD(subject, source.train(site), **given, **AUTHORS.get(author, {})) for site in source.sites]
        return Descriptions.concatenate(parts)

    tests = [test for site in evidence.sites if len(test := evidence.test(site))]

    def score(descriptions: Any) -> Any:
        for scorer in SCORERS:
            method = find_method(scorer, "describe", kind="scorer")
            nouns: dict[str, Any] = {"judge": RuleJudge(), "corpus": corpus, "encoder": CountEncoder()}
            for test in tests:
                own = {name: noun for name, noun in nouns.items() if name in method.takes}
                descriptions = method(subject, test, descriptions, **own)
        return descriptions

    authors = {author: describe(evidence, author, author == "rules") for author in AUTHORS}
    authors["rules of other units"] = shuffle_descriptions(subject, tests, authors["rules"], 0)
    authors["rules from the highest windows"] = describe(drawn["top"], "rules", True)
    scored = {author: score(one) for author, one in authors.items()}
    truths = {author: measure_truth(labelled, one) for author, one in scored.items()}
    show(scored, truths, labelled, correlate)
    print(f"\n{time.monotonic() - begun:.0f} s")


def make_features(subject: Any, half: Any) -> Any:
    """Return a basis of 256 sparse features of the stream after the third block."""
    from patchclamp.core.method_files import find_method
    from patchclamp.core.method_index import find_default

    shown = [one.stimulus for one in half[:600]]
    recording = subject.run(shown, record=[SITE], logits=False).recording
    made = find_method(find_default("decompose"), "decompose")(
        recording=recording, site=SITE, n_features=256, k=4, coder_batch=128, passes=20, learning_rate=0.003
    )
    return replace(made, name=FEATURES)


def show(scored: Any, truths: Any, labelled: Any, correlate: Any) -> None:
    """Print the tables."""
    kinds = {"neurons": "/neurons/", "heads": "/heads/", "features": f"/{FEATURES}/"}
    keys = np.array(labelled.keys)
    rows = {kind: np.array([mark in key for key in keys]) for kind, mark in kinds.items()}
    own = {author: align(one, keys) for author, one in scored.items()}
    print(
        "| units | descriptions | described | detection ≥ 0.8 | mean detection | true of firing | true of the concept |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind, some in rows.items():
        for author, columns in own.items():
            held = columns["detection"][some]
            held = held[~np.isnan(held)]
            firing, concept = truths[author].firing[some], truths[author].concept[some]
            print(
                f"| {kind} | {author} | {len(held)} of {some.sum()} | {np.mean(held >= 0.8):.0%} | {held.mean():.2f} | "
                f"{np.nanmean(firing):.2f} | {mean(concept)} |"
            )
    print(
        "\n| found of each tenth, weakest first | "
        + " | ".join(str(i) for i in range(1, 11))
        + " | silent windows told |"
    )
    print("|---|" + "---|" * 11)
    for author in ("rules", "rules from the highest windows"):
        column = scored[author].scores["detection"]
        tenths = np.nanmean(column.deciles, axis=0)
        quiet = 2 * np.nanmean(column.value) - np.nanmean(column.deciles)
        print(f"| {author} | " + " | ".join(f"{x:.2f}" for x in tenths) + f" | {quiet:.2f} |")
    several = ("rules", "rules without labels", "the top token", "rules of other units")
    print("\n| ρ with the truth | " + " | ".join(own["rules"]) + " |")
    print("|---|" + "---|" * len(own["rules"]))
    for what in ("firing", "concept"):
        for group, names in {"rules alone": ("rules",), "all four authors": several}.items():
            scores = {n: np.concatenate([own[a][n] for a in names]) for n in own["rules"]}
            found = correlate(scores, np.concatenate([getattr(truths[a], what) for a in names]))
            cells = (f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f}, n = {e.n})" for e in found.values())
            print(f"| {what}, {group} | " + " | ".join(cells) + " |")
    known = labelled.concept >= 0
    print(f"\n{known.sum()} of {len(keys)} units have a concept of their own (AUROC of 0.8 at least).")


def align(descriptions: Any, keys: np.ndarray) -> dict[str, np.ndarray]:
    """Return each score in the order of some keys."""
    head = f"{descriptions.index.subject}/"
    places = {str(descriptions.index.unit(i)).removeprefix(head): i for i in range(len(descriptions))}
    at = np.array([places.get(key, -1) for key in keys])
    return {
        name: np.where(at >= 0, column.value[at], np.nan)
        for name, column in descriptions.scores.items()
        if "_auroc" not in name
    }


def mean(values: np.ndarray) -> str:
    """Return a mean in words; a dash without values."""
    known = values[~np.isnan(values)]
    return f"{known.mean():.2f} (n = {len(known)})" if len(known) else "–"


if __name__ == "__main__":
    main()
