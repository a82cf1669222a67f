"""One unit's page as a file that needs nothing but itself.

It holds the built script and style, and every answer that the script may ask for. Its Content-Security-Policy names
both by their hash and forbids everything else, so that neither the file nor whatever text is in it can ask anybody for
anything.
"""

import base64
import hashlib
import json
import re
from dataclasses import asdict
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from patchclamp.atlas.atlas import Atlas
from patchclamp.atlas.export.output_path import Exported, new_file
from patchclamp.atlas.lab import messages
from patchclamp.atlas.serve.screens.unit.examples import Kind
from patchclamp.atlas.serve.screens.unit.page import UnitPage
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError

STATIC = Path(__file__).resolve().parents[1] / "static"
REBUILD = "In a checkout: npm --prefix web ci && npm --prefix web run build. Else install patchclamp again."
KINDS: tuple[Kind, ...] = ("top", "lowest", "counter", "range", "random")
ALL = 10**9
SCRIPT = "exported.js"
"""The unit's screen with all that it needs, as one script."""
_STYLE = re.compile(r'<link rel="stylesheet"[^>]* href="/(assets/[\w.-]+\.css)"')
_IMPORTS = re.compile(r"""(?:^|[;}\n])import(?:[\s{*\w][^;()]*?from)?\s*["'`]""")


@checked
def to_html(key: str, *, atlas: str | Path | Atlas) -> str:
    """Return a unit's whole page as one HTML document, which works from a file and asks nobody for anything.

    Args:
        key: ``[subject/]site/basis/index``.
        atlas: the atlas, or its folder.

    Returns:
        str: the document; all of it is ASCII but what the built script and style hold.

    Raises:
        PatchclampError: no atlas there, no such unit, or an installation without the built pages.

    Cost: one unit's page and all of its examples; the document is some 100 to 300 kB.

    Example:
        >>> import patchclamp as pc
        >>> pc.atlas.to_html("blocks.0.mlp.act/neurons/7", atlas="nowhere.atlas")
        Traceback (most recent call last):
        ...
        patchclamp.core.errors.PatchclampError: expected a folder that `patchclamp atlas bake` wrote; got ...
    """
    source = atlas if isinstance(atlas, Atlas) else Atlas(atlas)
    unit = source.unit(key)
    source.reading.require_text("the page of one unit in one file shows texts")
    script, style, mark, notices = _build_parts()
    home = source.page()
    title = escape(f"{unit.site} {unit.index} · atlas")
    about = {
        "unit": unit.key,
        "absent": f"Not in this file, which holds one unit. `patchclamp atlas serve {home.name}` shows it.",
        "answers": _answers(source, unit),
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}'; style-src 'sha256-{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    icon = "data:image/svg+xml;base64," + base64.b64encode(mark).decode()
    return f"""<!doctype html>
<html lang="en" data-exported>
  <head>
    <meta charset="utf-8" />
    <meta http-equiv="Content-Security-Policy" content="{policy}" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <meta name="robots" content="noindex" />
    <meta name="referrer" content="no-referrer" />
    <title>{title}</title>
    <link rel="icon" href="{icon}" type="image/svg+xml" />
    <style>{style}</style>
    <script type="application/json" id="exported">{inline_json(about)}</script>
    <script type="module">{script}</script>
  </head>
  <body>
    <div id="atlas"></div>
    <footer class="exported small soft">
      <p>One unit of the atlas <b>{escape(home.name)}</b>, {home.n_units:,} units of {escape(home.subject.name)} over
        {home.corpus.counted:,} tokens of {escape(home.corpus.name)}; content hash
        <span class="mono">{escape(home.hash[:16])}</span>. This page is one file and asks nobody for anything; links to
        what it does not hold are switched off. <span class="mono">patchclamp atlas serve</span> shows the whole.</p>
      <details><summary>what others wrote in this page, and their licences</summary>
        <pre>{escape(notices)}</pre></details>
    </footer>
    <noscript>This page is drawn by the script in it, which asks nobody for anything.</noscript>
  </body>
</html>
"""


def write_page(atlas: Atlas, key: str, out: Path) -> Exported:
    """Write a unit's page to a file.

    Returns:
        Exported: what was written, with its size in bytes.

    Raises:
        PatchclampError: no such unit, or a file that cannot be written; then nothing is left behind.
    """
    data = to_html(key, atlas=atlas).encode()
    new_file(out, data)
    return Exported("html", str(out), {out.name: len(data)}, 1)


def inline_json(data: Any) -> str:
    """Return JSON that ends neither a script element nor a line of script, whatever text is in it.

    Example:
        >>> print(inline_json("</script><!-- \u2028"))
        "\\u003c/script\\u003e\\u003c!-- \\u2028"
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _answers(atlas: Atlas, unit: UnitPage) -> dict[str, Any]:
    """Return what the page may ask for by address; intervals one bin at a time, which the page puts together."""
    base = f"/api/units/{unit.key}"
    answers: dict[str, Any] = {base: asdict(unit)}
    for kind in KINDS:
        answers[f"{base}/examples?kind={kind}"] = asdict(atlas.examples(unit.key, kind, limit=ALL))
    for one, ranks in (unit.head.patterns if unit.head else {}).items():
        for rank in ranks:
            pattern = atlas.attention(unit.key, one, rank)  # type: ignore[arg-type]
            answers[f"{base}/attention?kind={one}&rank={rank}"] = asdict(pattern)
    if unit.histogram is not None:
        edges = unit.histogram.edges
        answers[f"{base}/examples?kind=interval"] = [
            asdict(atlas.examples(unit.key, "interval", low=low, high=high, limit=ALL)) for low, high in pairwise(edges)
        ]
    no_model = messages.LabPage(
        attached=False,
        model="",
        context=None,
        generates=False,
        differentiates=False,
        most_clamps=0,
        most_new=0,
        shows=messages.shown_by(str(atlas.reading.about["modality"])),
        remedy="This page is a file without a model. Serve the atlas: patchclamp atlas serve ATLAS --model MODEL",
        source=unit.source,
    )
    return {**answers, "/api/lab": asdict(no_model), "/api/notes": asdict(atlas.notes(unit.key))}


def _build_parts() -> tuple[str, str, bytes, str]:
    """Return the built script, style and mark, and the licences of others' code in them.

    Raises:
        PatchclampError: they are not there, or the script needs others at once.
    """
    try:
        index = (STATIC / "index.html").read_text(encoding="utf-8")
        styles = _STYLE.findall(index)
        script = (STATIC / SCRIPT).read_text(encoding="utf-8")
        style = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in styles)
        mark, notices = (STATIC / "mark.svg").read_bytes(), (STATIC / "THIRD_PARTY.txt").read_text(encoding="utf-8")
    except OSError as problem:
        raise PatchclampError(
            expected="the built pages in this installation", got=f"{STATIC}: {problem.strerror}", remedy=REBUILD
        ) from problem
    if not styles or _IMPORTS.search(script):
        raise PatchclampError(
            expected=f"a built page with a style, and {SCRIPT} that needs no other script",
            got=f"{len(styles)} styles, or a script that imports others",
            remedy=REBUILD,
        )
    # Inside strings, where alone these can stand, a backslash before / or ! changes nothing.
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return script, style, mark, notices


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
