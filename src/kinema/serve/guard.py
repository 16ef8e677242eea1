"""Who may ask: hosts, origins, tokens; and the headers of answers."""

import hmac

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kinema.serve.options import LOCAL

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware that refuses requests of other sites, and those without the token.

    Without a token, the host that a browser names must be this machine's, so that a page of another site cannot reach
    the server by a name of its own (DNS rebinding). What a browser says of the origin of a request must be this server,
    so that a page of another site cannot send uploads (cross-site request forgery).

    Args:
        app: what answers requests.
        host: the address that the server listens on.
        token: secret; empty: none.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str) -> None:
        self._app, self._hosts, self._token = app, {*LOCAL, host}, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] >= 400 and scope["method"] == "POST":
                    headers["Connection"] = "close"  # what is left of the upload is not read
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refusal(Request(scope)) or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._token and host_name(host) not in self._hosts:
            return error(403, f"the host {host!r} is not this server's name; servers for others need a token")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return error(403, "requests from pages of other sites are refused")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and request.method != "GET":
            return error(403, "requests from pages of other sites are refused")
        if request.url.path.startswith("/api/") and not self._has_token(request):
            response = error(401, "a token is needed: send the header Authorization: Bearer TOKEN")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        return None

    def _has_token(self, request: Request) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        expected = self._token.encode()
        return not expected or (kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected))


def host_name(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def error(status: int, message: str) -> JSONResponse:
    """Return an answer that says what is wrong."""
    return JSONResponse({"error": message}, status_code=status)
