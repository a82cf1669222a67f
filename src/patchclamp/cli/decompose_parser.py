"""The words of the verb decompose; options of single methods come from their cards."""

from typing import Any

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.methods_parser import add_method_verb
from patchclamp.cli.options import MODEL, add_prepend_bos, seed


def add_decompose(verbs: Any) -> MethodParser:
    """Add ``decompose``, but for how its text is cut."""
    verb = add_method_verb(
        verbs, "decompose", "Split what sites do into sparse features, kept as a basis that other commands take.",
        "patchclamp decompose organism:language-gpt2 --site blocks.2.mlp.act --text story.txt --out features",
    )  # fmt: skip
    verb.add_argument("model", metavar="MODEL", help=MODEL)
    verb.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, or auto (default: cpu)")
    verb.add_argument("--dtype", help="float32, bfloat16 or float16 (default: the checkpoint's own)")
    verb.add_argument("--seed", type=seed, default=0, help="of everything random (default: 0)")
    add_prepend_bos(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    where = verb.add_mutually_exclusive_group(required=True)
    where.add_argument("--site", metavar="PATTERN", help="site paths or patterns, joined by commas")
    where.add_argument(
        "--transcode", metavar="LAYERS", help="instead: from what these blocks' MLPs read to what they write; or '*'"
    )
    verb.add_argument("--text", required=True, metavar="FILE", help="a UTF-8 text file")
    size = verb.add_mutually_exclusive_group()
    size.add_argument(
        "--n-features", type=int, metavar="N", help="features per site (default: 100, or of a trained method 16 times "
        "the site's width)",
    )  # fmt: skip
    size.add_argument("--expansion", type=float, metavar="X", help="instead: features per unit of the site's width")
    verb.add_argument("--skip-connection", action="store_true", help="transcode: a linear path beside the features")
    verb.add_argument("--name", metavar="NAME", help="name of the basis in keys (default: METHOD-FEATURES)")
    verb.use("decompose", "decompose")
    return verb
