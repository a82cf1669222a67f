"""Opening: from a name, a folder or a module to a subject."""

from os import PathLike, fspath
from typing import Any

ORGANISM = "organism:"


def load(
    name: str | PathLike[str], *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> Any:
    """Load a language model into the rig.

    Args:
        name: a local folder, a Hugging Face name, or ``organism:NAME`` for a network that ships with the package.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` (accelerate places the weights).
        dtype: ``float32``, ``bfloat16`` or ``float16``; the checkpoint's own where left out.
        attention: ``eager`` or ``sdpa``; transformers' choice where left out.

    Returns:
        LanguageModel: the subject.

    Raises:
        PatchclampError: nothing there, pickled weights, remote code, missing weights.

    Example:
        >>> load("organism:cat").name
        'cat'
    """
    name = fspath(name)
    if name.startswith(ORGANISM):
        from patchclamp.organisms import build

        return build(name.removeprefix(ORGANISM), device=device, dtype=dtype)
    from patchclamp.subjects.loading import load_language_model

    return load_language_model(name, device=device, dtype=dtype, attention=attention)


def wrap(module: Any, example_inputs: Any = None, *, tokenizer: Any = None, name: str | None = None) -> Any:
    """Lay a module that is already in memory in the rig.

    Args:
        module: any ``nn.Module``; a Hugging Face causal language model gets its canonical sites.
        example_inputs: a tensor or tuple of tensors that it accepts; not needed for a language model.
        tokenizer: a language model's tokenizer.
        name: what to call it in keys.

    Returns:
        LanguageModel | Network: the subject.

    Raises:
        PatchclampError: a plain module without example inputs.

    Example:
        >>> import torch
        >>> wrap(torch.nn.Linear(2, 3), torch.zeros(1, 2), name="toy").name
        'toy'
    """
    from patchclamp.core.errors import PatchclampError

    if hasattr(module, "get_output_embeddings") and module.get_output_embeddings() is not None:
        from patchclamp.subjects.language import LanguageModel

        return LanguageModel(module, tokenizer, name=name)
    if example_inputs is None:
        raise PatchclampError(
            expected="example inputs with a plain module",
            got=type(module).__name__,
            remedy="Pass a tensor, or a tuple of tensors, that the module accepts.",
        )
    from patchclamp.subjects.network import Network

    return Network(module, example_inputs, name=name)
