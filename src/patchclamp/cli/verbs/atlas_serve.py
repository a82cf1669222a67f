"""Serve an atlas to a browser."""

import sys
from argparse import Namespace

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import MODEL, add_bos
from patchclamp.cli.output import emit, log

SUMMARY = "Serve an atlas to a browser on this machine."
QUESTION = "look"
EXAMPLE = "patchclamp atlas serve cat.atlas"
FUNCTION = "atlas.serve_atlas"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    parser.add_argument(
        "--model", metavar="MODEL", help=f"attach the model: {MODEL}; units can then be tried on a text and clamped"
    )
    parser.add_argument(
        "--basis", metavar="DIR", help="with --model: a dictionary whose arrays are too large for the atlas to keep"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="the port (default: 0, a free one)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen (default: 127.0.0.1); any other than this machine asks for a token",
    )
    add_bos(parser)
    parser.add_argument(
        "--write",
        action="store_true",
        help="let the page write notes, stars and descriptions; the printed address holds the token for it",
    )
    parser.add_argument("--open", action="store_true", help="open the address in a browser")


def run(options: Namespace) -> int:
    """Serve an atlas until Ctrl-C."""
    import threading
    import webbrowser

    from patchclamp.atlas.read.reader import open_reading
    from patchclamp.atlas.serve.server import serve
    from patchclamp.atlas.serve.start import start_address

    def ready(address: str) -> None:
        if options.json:
            emit({"address": address})
        else:
            print(address)
            if options.model is not None and (
                start := start_address(address, open_reading(options.atlas, check=False))
            ):
                log(f"Start here: {start}")
            log("Ctrl-C ends it.")
        sys.stdout.flush()
        if options.open:
            # A browser may take its time to start; the server must not wait for it.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    try:
        serve(
            options.atlas, host=options.host, port=options.port, model=options.model, basis=options.basis,
            prepend_bos=bool(options.bos), write=options.write, ready=ready,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the way that a server ends
    return 0
