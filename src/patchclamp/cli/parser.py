"""The parser of all verbs; imports nothing heavy, so that help is quick."""

import argparse
from typing import Any

from patchclamp.cli.circuit_parser import add_circuit
from patchclamp.cli.control_parser import add_control
from patchclamp.cli.decode import add_decode
from patchclamp.cli.decompose_parser import add_decompose
from patchclamp.cli.describe import add_describe
from patchclamp.cli.evaluate import add_evaluate
from patchclamp.cli.methods_parser import add_methods
from patchclamp.cli.options import BASIS, CHAT, MODEL, Parser, add_prepend_bos
from patchclamp.cli.options import seed as _seed
from patchclamp.cli.options import verb as _verb
from patchclamp.cli.patch_parser import add_patch
from patchclamp.core.method_index import find_default, list_names


def build_parser() -> Parser:
    """Return the parser of all subcommands."""
    parser = Parser(
        prog="patchclamp",
        description="A rig for neurons: record them, find which gave an answer, and prove it by clamping them.",
        epilog="Example: patchclamp explain organism:cat 'the old cat' --target ' sat' --contrast ' ran'",
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    _sites(verbs)
    _verify(verbs)
    _families(verbs)
    _record(verbs)
    _survey(verbs)
    _cutting_options(add_decompose(verbs), whole=True)
    _explain(verbs)
    _generate(verbs)
    _classify(verbs)
    _info(verbs)
    _organism(verbs)
    _calibrate(verbs)
    add_patch(verbs)
    add_circuit(verbs)
    add_methods(verbs)
    add_control(verbs)
    add_evaluate(verbs)
    add_describe(verbs)
    add_decode(verbs)
    _basis(verbs)
    _atlas(verbs)
    return parser


def _sites(verbs: Any) -> None:
    verb = _verb(
        verbs, "sites", "List the sites of a model and what can be done there.", "patchclamp sites organism:cat",
        text=False,
    )  # fmt: skip
    verb.add_argument("--modules", action="store_true", help="list every module's input and output too")


def _verify(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "verify",
        "Prove that what the rig shows is the model: equality with the bare network.",
        "patchclamp verify family:gpt2",
        text=False,
    )
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.description = (
        "Prove that what the rig shows is the model: equality with the bare network on padded batches.\n"
        "family:NAME runs the contract on the family's tiny model, and on each part's wrong mapping."
    )


def _families(verbs: Any) -> None:
    _verb(
        verbs,
        "families",
        "Which architectures have canonical sites, and which parts of the contract each keeps.",
        "patchclamp families",
        model=False,
    )


def _shown_options(verb: Parser, *, required: bool = True) -> None:
    """Text or images, and where to record."""
    shown = verb.add_mutually_exclusive_group(required=required)
    shown.add_argument("--text", metavar="FILE", help="a UTF-8 text file")
    shown.add_argument(
        "--images",
        metavar="PATH",
        help="an image, a folder of images, an npz or npy file, or digits; PATH:0:100 for some",
    )
    verb.add_argument("--max-images", type=int, metavar="N", help="stop after N images (default: all of them)")
    verb.add_argument("--sites", required=required, metavar="PATTERN", help="site paths or patterns, joined by commas")
    _cutting_options(verb)


def _text_options(verb: Parser, *, sites: str) -> None:
    """Text alone, and some usual sites."""
    verb.add_argument("--text", required=True, metavar="FILE", help="a UTF-8 text file")
    usual = f"site paths or patterns, joined by commas (default: {sites})"
    verb.add_argument("--sites", default=sites, metavar="PATTERN", help=usual)
    _cutting_options(verb, whole=True)


def _cutting_options(verb: Parser, *, whole: bool = False) -> None:
    verb.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    # An atlas is of a whole model, so its context decides; elsewhere one number means the same for every model.
    shorter = ", or the model's context where that is shorter" if whole else ""
    verb.add_argument(
        "--window",
        type=int,
        default=None if whole else 128,
        metavar="N",
        help=f"tokens per stimulus (default: 128{shorter})",
    )
    verb.add_argument("--max-tokens", type=int, metavar="N", help="stop after N tokens (default: the whole text)")
    verb.add_argument("--batch-size", type=int, default=8, metavar="B", help="stimuli per forward pass (default: 8)")
    verb.add_argument("--resume", action="store_true", help="go on with an interrupted run in --out")
    verb.add_argument(
        "--chat",
        action="store_true",
        help="put each line (words, or a JSON list of messages) through the chat template",
    )
    verb.add_argument("--no-bos", action="store_true", help="do not begin and end windows as the tokenizer's texts do")
    _add_skip_first(verb)


def _add_skip_first(verb: Parser) -> None:
    verb.add_argument(
        "--skip-first",
        type=int,
        default=0,
        metavar="N",
        help="count nothing of each window's first N tokens, the tokenizer's own beginning among them (default: 0)",
    )


def _record(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "record",
        "Record what sites do over a text or images, to append-only shards on disk; resumable at every moment.",
        "patchclamp record organism:cat --text story.txt --sites 'blocks.*.mlp.act' --out recording",
    )
    _shown_options(verb)
    verb.add_argument(
        "--store", metavar="TYPE", help="float32, float16 or bfloat16 on disk (default: the model's own type)"
    )


def _survey(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "survey",
        "Statistics and exemplars of every unit over a text or images, without storing activations.",
        "patchclamp survey organism:cat --text story.txt --sites 'blocks.*.mlp.act' --out survey",
    )
    # A recorded brain (a file in place of MODEL) needs neither text nor sites; the command asks for them elsewhere.
    _shown_options(verb, required=False)
    _brain_options(verb)


def _brain_options(verb: Parser) -> None:
    group = verb.add_argument_group("a file of a recorded brain (.csv, .mat, .nwb, .npy, .npz)")
    group.add_argument("--variable", action="append", metavar="NAME", help="which variable or column; repeat for more")
    group.add_argument("--axes", metavar="AXES", help="names of its axes, such as trial,time or time,unit")
    group.add_argument("--rate", type=float, metavar="HZ", help="samples per second, where the file does not say")
    group.add_argument("--duration", type=float, metavar="S", help="seconds of a trial, instead of --rate")
    group.add_argument("--bin", type=float, metavar="S", help="seconds per bin, to count event times in")
    group.add_argument("--measure", metavar="UNIT", help="unit of measure, where the file does not say (a.u.)")
    group.add_argument("--labels", action="append", metavar="NAME", help="a variable or column of labels; repeat")


def _explain(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "explain",
        "Which neurons, heads or channels gave this answer, proved by ablating them beside random sets.",
        "patchclamp explain organism:cat 'the old cat' --target ' sat' --contrast ' ran'",
    )
    verb.add_argument(
        "prompt",
        metavar="PROMPT",
        help="the text, without a space at its end; or an image: a file, FILE.npz:17, digits:17",
    )
    verb.add_argument(
        "--target", required=True, metavar="TEXT", help="the answer, with its leading space; of an image the class"
    )
    verb.add_argument("--contrast", metavar="TEXT", help="the answer it is held against")
    verb.add_argument(
        "--corrupt",
        metavar="PROMPT",
        help="a prompt of as many tokens, or an image, under which the answer should be lost",
    )
    verb.add_argument(
        "--baseline",
        metavar="zero|DIR",
        help="what values are held against and replaced by: zero (default), or the means of a survey's folder",
    )
    verb.add_argument(
        "--method",
        choices=list_names("attribute", "unit", option="direction"),
        default=find_default("explain", "attribute"),
        help="how units are scored (default: integrated_gradients); quicker: relp or attribution_patching; "
        "activation_patching replaces every unit",
    )
    verb.add_argument(
        "--level",
        metavar="LEVELS",
        help="neuron, head, channel, feature, patterns of sites, several joined by commas (default: what the model "
        "has, and with --basis the features)",
    )
    verb.add_argument("--basis", action="append", default=[], metavar="DIR", help=BASIS)
    verb.add_argument("--chat", action="store_true", help=CHAT)
    verb.add_argument(
        "--top", type=int, default=20, metavar="K", help="how many causes to name and ablate (default: 20)"
    )
    verb.add_argument("--controls", type=int, default=99, metavar="N", help="random sets (default: 99, least: 20)")
    verb.add_argument("--out", metavar="FILE", help="write the graph as JSON")
    verb.add_argument("--report", metavar="FILE", help="write a page to look at, as one HTML file")
    verb.add_argument("--atlas", metavar="DIR", help="add the graph to an atlas of the same model, as a layer")


def _generate(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "generate",
        "Continue a prompt with units clamped, beside the continuation without.",
        "patchclamp generate organism:cat 'the old cat' --clamp 'blocks.0.mlp.act/neurons/7=0'",
    )
    verb.add_argument("prompt", metavar="PROMPT", help="the text to continue")
    verb.add_argument("--chat", action="store_true", help=CHAT)
    verb.add_argument(
        "--clamp",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a unit (KEY+=V adds, KEY*=V scales, KEY=ablate silences; ' @ 5:9,+0:' after it says where); repeat",
    )
    verb.add_argument(
        "--at",
        action="append",
        metavar="WHERE",
        help="positions 5, 5:9, -1 or generated steps +0:+3; repeat (default: everywhere)",
    )
    verb.add_argument("--max-new-tokens", type=int, default=40, metavar="N", help="most tokens to write (default: 40)")
    verb.add_argument("--basis", action="append", default=[], metavar="DIR", help=BASIS)
    verb.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0 takes the likeliest token (default: 0)"
    )


def _classify(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "classify",
        "The classes that an image is given with units clamped, beside those without.",
        "patchclamp classify organism:digits-cnn four.png --clamp 'blocks.1.conv1.act/channels/8=0'",
        text=False,
    )
    verb.add_argument("image", metavar="IMAGE", help="an image file, FILE.npz:17, or digits:17")
    verb.add_argument(
        "--clamp",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a unit (KEY+=V adds, KEY*=V scales, KEY=ablate silences; ' @ 5:9,+0:' after it says where); repeat",
    )
    verb.add_argument(
        "--at",
        action="append",
        metavar="WHERE",
        help="places of the site: 5, 5:9 (on a map place y * X + x); repeat (default: everywhere)",
    )
    verb.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to print (default: 5)")


def _info(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "info",
        "What a recording, survey, graph or recorded brain holds, and whether it is whole.",
        "patchclamp info recording",
        model=False,
    )
    verb.add_argument("folder", metavar="DIR", help="what record or survey wrote, or the file of a recorded brain")
    _brain_options(verb)


def _organism(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "organism",
        "Networks whose answer is known, which ship with the package.",
        "patchclamp organism card cat",
        model=False,
    )
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.description = (
        "Networks whose answer is known, which ship with the package.\n\n"
        "  list            all of them\n"
        "  card NAME       what is planted in one, or what one has learnt\n"
        "  train NAME      make a language or digits organism anew by its recipe, into --out\n"
        "  evaluate NAME   measure one: the tasks, the loss, of language the best neuron for each concept\n"
        "  text NAME       held-out text of the microworld, with --labels the concepts true of every token"
    )
    verb.add_argument("what", choices=("list", "card", "train", "evaluate", "text"), help="see above")
    verb.add_argument("name", nargs="?", metavar="NAME", help="which; evaluate also takes a trained folder")
    verb.add_argument("--out", metavar="DIR", help="train: a new or empty folder")
    verb.add_argument("--steps", type=int, metavar="N", help="train: optimizer steps (default: as the shipped one)")
    verb.add_argument("--device", default="cpu", help="train, evaluate: cpu, cuda, cuda:1 or mps (default: cpu)")
    verb.add_argument("--seed", type=_seed, default=0, help="train, text: the same seed, the same result (default: 0)")
    verb.add_argument("--n", type=int, metavar="N", help="text: documents (default: 1000); evaluate: items (500)")
    verb.add_argument(
        "--labels", action="store_true", help="text: a JSON line per document, tokens with their concepts"
    )


def _calibrate(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "calibrate",
        "Which methods of attribution find the planted units; in language organisms, how well their predictions hold.",
        "patchclamp calibrate mover-gpt2 decoy-gpt2",
        model=False,
    )
    verb.add_argument("names", nargs="*", metavar="NAME", help="organisms (default: every planted circuit)")
    verb.add_argument("--tasks", help="language organisms: some tasks, with commas (default: the seven main ones)")
    verb.add_argument("--pairs", type=int, help="language organisms: held-out pairs per task (default: 64)")
    verb.add_argument("--seed", type=_seed, default=0, help="language organisms: of pairs and draws (default: 0)")


def _basis(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "basis",
        "Read, judge, compare and convert dictionaries of features, other libraries' too.",
        "patchclamp basis info features",
        model=False,
    )
    whats = verb.add_subparsers(dest="what", metavar="WHAT", parser_class=Parser, required=True)
    folder = (
        "what decompose wrote, or a folder of SAELens, sparsify or Gemma Scope; also owner/repository/folder on the hub"
    )

    def opened(what: Parser, *names: str) -> None:
        for name in names:
            what.add_argument(name, metavar="DIR", help=folder)

    def named(what: Parser) -> None:
        what.add_argument("--site", metavar="SITE", help="the site that it writes, where the folder does not tell")
        what.add_argument("--reads", metavar="SITE", help="the site that a transcoder reads, where it does not tell")
        for option, what_it_says in (
            ("--center", "the stream that it was trained on was centred (center_writing_weights): take the mean off"),
            ("--prepend-bos", "the texts that it was trained on began with a BOS token"),
        ):
            what.add_argument(
                option, action=argparse.BooleanOptionalAction, default=None, help=f"{what_it_says}, or not"
            )

    info = _verb(
        whats,
        "info",
        "What a dictionary holds, and whether it is whole.",
        "patchclamp basis info features",
        model=False,
    )
    opened(info, "folder")
    named(info)
    evaluate = _verb(
        whats,
        "evaluate",
        "What a dictionary leaves out and the network loses by it, beside neurons, components and random directions.",
        "patchclamp basis evaluate organism:language-gpt2 features --text held-out.txt",
        text=False,
    )
    opened(evaluate, "folder")
    named(evaluate)
    evaluate.add_argument(
        "--text", required=True, metavar="FILE", help="text that it was not made on; with labels, concepts are told too"
    )
    evaluate.add_argument(
        "--window", type=int, metavar="N", help="tokens per stimulus (default: 128, or a shorter context)"
    )
    evaluate.add_argument("--max-tokens", type=int, default=50000, metavar="N", help="stop after N (default: 50,000)")
    evaluate.add_argument("--batch-size", type=int, default=8, metavar="B", help="stimuli per pass (default: 8)")
    _add_skip_first(evaluate)
    compare = _verb(
        whats,
        "compare",
        "How alike two dictionaries are, matched one to one, beside the second turned at random.",
        "patchclamp basis compare seed0 seed1",
        model=False,
    )
    opened(compare, "folder", "other")
    compare.add_argument("--seed", type=_seed, default=0, help="of the random turns (default: 0)")
    convert = _verb(
        whats,
        "convert",
        "Write a dictionary for another library, or another library's as patchclamp keeps it.",
        "patchclamp basis convert features --to saelens --out for-saelens",
        model=False,
    )
    opened(convert, "folder")
    named(convert)
    convert.add_argument("--model", metavar="MODEL", help="the model that it is of, whose norms decide names of places")
    convert.add_argument("--name", metavar="NAME", help="what its units are called in keys")
    convert.add_argument("--to", required=True, choices=("saelens", "sparsify", "patchclamp"), help="the library")
    convert.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")


def _atlas(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "atlas",
        "Bake every unit of a model into a folder, and look at it in a browser.",
        "patchclamp atlas bake organism:cat --text story.txt --out cat.atlas",
        model=False,
    )
    whats = verb.add_subparsers(dest="what", metavar="WHAT", parser_class=Parser, required=True)
    bake = _verb(
        whats,
        "bake",
        "Bake an atlas: examples, histogram, what every unit writes and reads, and its neighbours.",
        "patchclamp atlas bake organism:cat --text story.txt --out cat.atlas",
    )
    _text_options(bake, sites="blocks.*.mlp.act")
    add = _verb(
        whats,
        "add",
        "Add the features of a dictionary to an atlas: each gets what a neuron has.",
        "patchclamp atlas add cat.atlas --basis DIR --text story.txt",
        model=False,
    )
    add.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    add.add_argument("--basis", required=True, metavar="DIR", help="what decompose wrote")
    add.add_argument("--model", metavar="MODEL", help=f"the atlas's model: {MODEL} (default: what was baked)")
    add.add_argument("--text", metavar="FILE", help="a UTF-8 text file (default: what was baked, where it still is)")
    add.add_argument("--max-tokens", type=int, metavar="N", help="stop after N tokens (default: as baked)")
    add.add_argument("--batch-size", type=int, metavar="B", help="stimuli per forward pass (default: as baked)")
    add.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    add_prepend_bos(add)
    serve = _verb(
        whats, "serve", "Serve an atlas to a browser on this machine.", "patchclamp atlas serve cat.atlas", model=False
    )
    serve.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    serve.add_argument(
        "--model", metavar="MODEL", help=f"attach the model: {MODEL}; units can then be tried on a text and clamped"
    )
    serve.add_argument(
        "--basis", metavar="DIR", help="with --model: a dictionary whose arrays are too large for the atlas to keep"
    )
    serve.add_argument("--port", type=int, default=0, metavar="N", help="the port (default: 0, a free one)")
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen (default: 127.0.0.1); any other than this machine asks for a token",
    )
    add_prepend_bos(serve)
    serve.add_argument("--open", action="store_true", help="open the address in a browser")
    info = _verb(
        whats, "info", "What an atlas holds, and whether it is whole.", "patchclamp atlas info cat.atlas", model=False
    )
    info.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    export = _verb(
        whats,
        "export",
        "Share an atlas: one unit's page as a file, or everything in a format that others read.",
        "patchclamp atlas export cat.atlas --format html --unit blocks.0.mlp.act/neurons/7 --out cat.html",
        model=False,
    )
    export.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    export.add_argument(
        "--format",
        required=True,
        choices=("html", "parquet", "neuronpedia"),
        help="html: one unit's page as one file; parquet: tables of everything; neuronpedia: the layout it imports",
    )
    export.add_argument("--unit", metavar="KEY", help="html: the unit, site/basis/index")
    export.add_argument("--out", required=True, metavar="PATH", help="a file (html), or a folder that is not there yet")
