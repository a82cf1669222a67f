"""Sites that a transcoder of an MLP reads and writes."""

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.engine import Place
from patchclamp.subjects.language import LanguageModel


def mlp_sites(model: LanguageModel, layer: int) -> tuple[str, str]:
    """Return the site whose values an MLP reads, after its norm, and the one that it writes to the stream.

    What an MLP reads has no canonical name; it is the input of the module whose output is ``mlp.pre``.

    Args:
        model: the subject.
        layer: the block.

    Raises:
        PatchclampError: no such block, or no MLP of one piece there.

    Example:
        >>> from patchclamp.subjects.families.spec import family
        >>> mlp_sites(LanguageModel(family("gpt2").tiny()), 1)
        ('module.transformer.h.1.mlp.c_fc.in', 'blocks.1.mlp.write')
    """
    if not 0 <= layer < model.n_layers:
        raise PatchclampError(
            expected=f"a block from 0 to {model.n_layers - 1}" if model.n_layers else "a model that a family covers",
            got=f"--transcode {layer}",
            remedy="`patchclamp info MODEL` lists them.",
        )
    places = model.covering_family().sites_of(model.module, layer)
    place = places.get("mlp.pre")
    if not isinstance(place, Place) or place.side != "out" or place.flat or "mlp.write" not in places:
        raise PatchclampError(
            expected="an MLP of one piece, its input one vector per token",
            got=f"block {layer} of {model.name}, which has none",
            remedy="Name the two sites in Python: Job(reads, writes, config).",
        )
    return model.site(f"module.{place.module}.in").path, f"blocks.{layer}.mlp.write"
