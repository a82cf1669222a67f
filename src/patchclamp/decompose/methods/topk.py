"""TopK sparse coders, which keep the k largest latents of every vector."""

from dataclasses import dataclass

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.decompose.card_fields import SPARSE_CODER
from patchclamp.decompose.fitting import CoderOptions, Subject, make_basis
from patchclamp.decompose.sparse_coder import TopKConfig


@dataclass(frozen=True)
class TopKOptions(CoderOptions):
    """Options of TopK coders."""

    k: int = option(32, "features kept of a vector")

    def config(self, n_latents: int) -> TopKConfig:
        """Return kind and size of the coder."""
        return TopKConfig(n_latents, self.skip_connection, k=self.k)


def topk(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: TopKOptions,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Train a TopK coder at one site: of every vector the k largest latents are kept.

    z = TopK(W_enc (x − b_pre) + b_enc), x̂ = W_dec z + b_pre, L = ‖x − x̂‖² + α L_aux, L_aux = ‖e − ê‖², e = x − x̂
    and ê what the k_aux best of the dead latents write of it. Of a transcoder x̂ estimates another site's y, with a
    bias of its own.

    Args:
        subject: a language model, with a corpus.
        corpus: a text whose activations it is trained on.
        recording: activations, rows × width, in the place of both.
        options: size, k, how it is trained.
        seed: of the directions at first and of the order of activations.
        progress: called with activations done and in all.

    Returns:
        Basis: E, D and the biases, its scales folded in; D has unit rows, features × width.

    Raises:
        PatchclampError: fewer activations than one batch, activations that are not finite, numbers that do not fit.

    Source: Gao et al. (2024), 2406.04093, equations 1 to 4 and appendix A.2; transcoders: 2406.11944. Departs from
    them in latents below zero being off, means over entries, vectors scaled to E‖x‖² = d, and directions turned
    towards activations at first.

    Cost: one pass of the subject per pass over the activations; a step multiplies a batch with the encoder once, and
    k rows a vector backward.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make().recording
        >>> decompose(rows, method="topk", n_features=8, k=2, coder_batch=2000).bases["x"].n_units
        8
    """
    return make_basis(options, "topk", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: TopKOptions) -> Cost:
    n = options.features(sizes.units)
    return Cost(forward=sizes.rows * options.passes, bytes=32 * n * sizes.units + 8 * options.coder_batch * n)


METHOD = Method(
    topk,
    name="topk",
    room="decompose",
    title="TopK sparse coder or transcoder",
    question="Which few directions at a time is activity made of?",
    papers=(Paper("2406.04093", equation="1 to 4"), Paper("2406.11944", equation="section 3")),
    cost=_cost,
    oracle="oracles.sparse_coder:topk",
    options_at={"superposition*": {"n_features": 64, "coder_batch": 256, "passes": 10, "learning_rate": 0.005, "k": 3}},
    quick={"k": 3, "coder_batch": 2000, "passes": 1, "learning_rate": 0.001},
    default_for=("decompose",),
    **SPARSE_CODER,
)
