"""What stands between the network and the atlas: hosts, origins, methods, sizes, a token, headers."""

import hmac
import json
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from patchclamp.atlas.serve.writer import REMEDY
from patchclamp.core.errors import PatchclampError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LONGEST_URL, LARGEST_BODY = 8192, 65536
UPLOADS, LARGEST_UPLOAD = "/api/lab/pictures", 6_000_000
"""What takes a file in base 64, a third longer than the file."""
COOKIE = "patchclamp-atlas"
API, LAB, WRITE = "/api/", "/api/lab/", "/api/write/"
WRITE_TOKEN = "x-patchclamp-token"
"""The header that brings the token of a write; a page elsewhere cannot send it without asking first."""
OWN_SITES = ("same-origin", "none")
"""What a browser says of requests that a page of this server, or its user, makes."""
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    # Notebooks frame a page: Jupyter from this machine, VS Code from schemes of its own.
    "object-src 'none'; frame-ancestors 'self' http://localhost:* http://127.0.0.1:* vscode-webview: vscode-file:",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Refuse what an atlas has no business answering; pass the rest on. An ASGI application around another.

    A page elsewhere that rebinds its name to this machine shows in its Host header; one that has a browser ask the
    API, which may compute, by Sec-Fetch-Site and Origin. Programs send neither and are answered.
    Only GET and HEAD are passed on, and POST of JSON to the lab, which computes and keeps nothing on disk, and with
    the token of a write to what writes.

    Args:
        app: the application.
        hosts: names in Host headers that are answered; None for all, where a token is asked for.
        token: what an asker must bring, in ``?token=`` or the cookie that it sets; None on loopback.
        write: what a write must bring in ``x-patchclamp-token``; None where nothing may be written.
        etag: gives the atlas's hash as it is now.
    """

    def __init__(
        self,
        app: Any,
        *,
        hosts: Iterable[str] | None,
        token: str | None = None,
        write: str | None = None,
        etag: Callable[[], str],
    ) -> None:
        self.app = app
        self.hosts = None if hosts is None else frozenset(hosts)
        self.token = token
        self.write = write
        self.etag = etag

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, refusal[0], refusal[1].to_json())
        elif self.token is not None and not self._is_known(headers):
            await self._admit(scope, send)
        else:
            await self._pass_on(scope, receive, send, headers)

    def _refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, PatchclampError] | None:
        host = _name(f"//{headers.get('host', '')}")
        if self.hosts is not None and host not in self.hosts:
            return 421, PatchclampError(
                expected=f"to be asked as {' or '.join(sorted(self.hosts))}",
                got=f"Host {headers.get('host', '')[:80]!r}",
                remedy="Use the address that `patchclamp atlas serve` printed.",
            )
        is_read = scope["method"] in ("GET", "HEAD")
        # A link to a page may stand anywhere; what a page shows it asks for itself.
        if not is_read or scope["path"].startswith(API):
            stranger = _stranger(headers)
            if stranger is not None:
                return 403, PatchclampError(
                    expected="a page of this server",
                    got=f"one of {stranger[:80]}",
                    remedy="Open the address that `patchclamp atlas serve` printed.",
                )
        if not is_read:
            writes = scope["method"] == "POST" and scope["path"].startswith(WRITE)
            if writes and not _same(headers.get(WRITE_TOKEN, ""), self.write):
                got = "a server that only reads" if self.write is None else "none, or another"
                return 403, PatchclampError(expected="the token of a server that may write", got=got, remedy=REMEDY)
            takes_body = writes or (scope["method"] == "POST" and scope["path"].startswith(LAB))
            # A form of another page cannot send JSON without asking first, and nobody here says yes.
            if takes_body and headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
                return self._too_large(scope, headers)
            if takes_body:
                return 415, PatchclampError(
                    expected="a body of application/json",
                    got=repr(headers["content-type"][:80]) if headers.get("content-type") else "none",
                    remedy="/api/openapi.json says what may be asked.",
                )
            return 405, PatchclampError(
                expected="GET or HEAD", got=scope["method"][:20], remedy="An atlas is only read; the CLI adds layers."
            )
        return self._too_large(scope, headers)

    def _too_large(self, scope: Any, headers: dict[str, str]) -> tuple[int, PatchclampError] | None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_URL:
            return 414, PatchclampError(
                expected=f"an address of at most {LONGEST_URL} bytes", got="a longer one", remedy="Shorten it."
            )
        is_upload = scope["method"] == "POST" and scope["path"] == UPLOADS
        largest = LARGEST_UPLOAD if is_upload else LARGEST_BODY
        if _number(headers.get("content-length", "0")) > largest or "transfer-encoding" in headers:
            return 413, PatchclampError(
                expected=f"a request of at most {largest} bytes, its length said",
                got="more, or none said",
                remedy="Make the picture smaller." if is_upload else "Send no body with GET.",
            )
        return None

    def _is_known(self, headers: dict[str, str]) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, self.token)

    async def _admit(self, scope: Any, send: Any) -> None:
        """Take the token out of the address and keep it in a cookie that only this site is sent."""
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        brought = dict(asked).get("token", "")
        if not _same(brought, self.token):
            problem = PatchclampError(
                expected="the token of this server",
                got="none, or another",
                remedy="Open the whole address that it printed.",
            )
            await _answer(send, 401, problem.to_json())
            return
        rest = urlencode([(name, value) for name, value in asked if name != "token"])
        # One slash: two would lead to another site.
        where = "/" + (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").lstrip("/\\")
        cookie = f"{COOKIE}={brought}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, None, {"location": where + (f"?{rest}" if rest else ""), "set-cookie": cookie})

    async def _pass_on(self, scope: Any, receive: Any, send: Any, headers: dict[str, str]) -> None:
        tagged: dict[str, str] = {}
        # What depends on this server, and not on the atlas alone.
        computed = f"{scope['path']}/".startswith((LAB, WRITE))
        if scope["path"].startswith("/api/") and scope["path"] != "/api/openapi.json" and not computed:
            try:
                tagged = {"etag": f'"{self.etag()}"', "cache-control": "no-cache"}
            except PatchclampError as problem:
                await _answer(send, 503, problem.to_json())
                return
            if tagged["etag"] in headers.get("if-none-match", ""):
                await _answer(send, 304, None, tagged)
                return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = _HEADERS | (
                    tagged
                    if message["status"] == 200 and not computed
                    else {"cache-control": "no-store"}
                    if tagged or computed
                    else {}
                )
                pairs = [(k.encode(), v.encode()) for k, v in more.items()]
                message = {**message, "headers": [*message["headers"], *pairs]}
            await send(message)

        # HEAD is GET without a body, which the server leaves out by itself.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self.app({**scope, "method": method}, receive, with_headers)


def _same(brought: str, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(brought.encode(), token.encode())


def _stranger(headers: dict[str, str]) -> str | None:
    """Return which other site a browser asks for, where it says that it does."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", OWN_SITES[0])
    if origin is not None and urlsplit_of(origin).netloc != headers.get("host", ""):
        return origin
    return None if site.lower() in OWN_SITES else f"another site ({site})"


def urlsplit_of(address: str) -> Any:
    """Split an address; one that is none has no parts."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else LARGEST_UPLOAD + 1


async def _answer(send: Any, status: int, problem: dict[str, str] | None, more: dict[str, str] | None = None) -> None:
    body = b"" if problem is None else json.dumps({"error": problem}).encode()
    headers = {**_HEADERS, **(more or {})}
    if status != 304:
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
    if status == 405:
        headers["allow"] = "GET, HEAD"
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
