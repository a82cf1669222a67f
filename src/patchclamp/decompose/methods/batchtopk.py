"""BatchTopK sparse coders, which keep k latents per vector on average."""

from dataclasses import dataclass

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.decompose.card_fields import SPARSE_CODER
from patchclamp.decompose.fitting import CoderOptions, Subject, make_basis
from patchclamp.decompose.sparse_coder import BatchTopKConfig


@dataclass(frozen=True)
class BatchTopKOptions(CoderOptions):
    """Options of BatchTopK coders."""

    k: int = option(32, "features kept of a vector, on average over a batch")

    def config(self, n_latents: int) -> BatchTopKConfig:
        """Return kind and size of the coder."""
        return BatchTopKConfig(n_latents, self.skip_connection, k=self.k)


def batchtopk(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: BatchTopKOptions,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Train a BatchTopK coder at one site: of n vectors the n · k largest latents are kept.

    f(X) = BatchTopK(W_enc X + b_enc), which keeps the n · k largest entries of a batch, X̂ = W_dec f + b_dec, L = ‖X
    − X̂‖² + α L_aux as of TopK. A vector by itself keeps what exceeds θ, the running mean of the least that was kept.

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

    Source: Bussmann, Leask & Nanda (2024), 2412.06410, equations 4 to 6. Departs from it as `topk` does, and in a
    running mean of θ for the mean over batches after training.

    Cost: one pass of the subject per pass over the activations; as `topk`, with a sort of what may be kept of a
    batch.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make().recording
        >>> decompose(rows, method="batchtopk", n_features=8, k=2, coder_batch=2000).bases["x"].n_units
        8
    """
    return make_basis(options, "batchtopk", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: BatchTopKOptions) -> Cost:
    n = options.features(sizes.units)
    return Cost(forward=sizes.rows * options.passes, bytes=32 * n * sizes.units + 8 * options.coder_batch * n)


METHOD = Method(
    batchtopk,
    name="batchtopk",
    room="decompose",
    title="BatchTopK sparse coder or transcoder",
    question="Which directions is activity made of, few on average?",
    papers=(Paper("2412.06410", equation="4 to 6"), Paper("2406.11944", equation="section 3")),
    cost=_cost,
    oracle="oracles.sparse_coder:batchtopk",
    options_at={"superposition*": {"n_features": 64, "coder_batch": 256, "passes": 10, "learning_rate": 0.005, "k": 3}},
    quick={"k": 3, "coder_batch": 2000, "passes": 1, "learning_rate": 0.001},
    **SPARSE_CODER,
)
