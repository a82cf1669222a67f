"""What is said of a language organism, all of it measured on the file that ships."""

import json
from pathlib import Path
from typing import Any

from patchclamp.organisms.language.concepts import CONCEPTS
from patchclamp.organisms.language.evaluate import evaluate
from patchclamp.organisms.training import read_training
from patchclamp.subjects.loading import load_language_model

WHAT = {
    "language-gpt2": "A small GPT-2 that has learnt a microworld, every token of which is labelled with its concepts.",
    "language-llama": "A small Llama that has learnt a microworld, every token of which is labelled with its concepts.",
}
ARCHITECTURES = {
    "language-gpt2": "GPT-2: 4 blocks of width 128, 4 heads, 512 GELU neurons each, LayerNorm, learned positions",
    "language-llama": "Llama: 4 blocks of width 128, 4 query and 2 key-value heads, 384 SwiGLU neurons each, RMSNorm, "
    "rotary positions",
}


def write_card(folder: Path, name: str, *, n: int = 500, documents_read: int = 6000) -> dict[str, Any]:
    """Measure a trained folder and write its card.json, with seed and steps from its recipe.json or card.json.

    Args:
        folder: what ``recipe.train`` wrote.
        name: the organism.
        n: questions per task.
        documents_read: held-out documents for loss and neurons.

    Returns:
        dict: the card.

    Raises:
        PatchclampError: the folder is no model.

    Cost: that of ``evaluate``.
    """
    model = load_language_model(str(folder), dtype="float32")
    made = read_training(folder)
    card: dict[str, Any] = {
        "name": name,
        "circuit": "language",
        "architecture": ARCHITECTURES[name],
        "what": WHAT[name],
        "prompt": "Mary and Tom went to the park. Tom gave a book to",
        "target": " Mary",
        "contrast": " Tom",
        "corrupt": "Mary and Tom went to the park. Mary gave a book to",
        "baseline": "corrupted",
        "true": [],
        "effects": {},
        "decoys": [],
        "must_miss": {},
        "must_find": [],
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        "stored": "float16",
        "data": f"{made['documents']} documents of the microworld, seed {made['seed']}",
        "training": made,
        "concepts": len(CONCEPTS),
        "hash": model.hash,
        "licence": "Apache-2.0, the patchclamp authors",
        **evaluate(model, n=n, documents_read=documents_read),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return card
