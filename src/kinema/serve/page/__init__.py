"""The page and the description of the API, each one file without references to others."""

import base64
import re
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

Page = tuple[str, str]
"""HTML, and its Content-Security-Policy."""


@cache
def main_page() -> Page:
    """Return the page on which videos are dropped or recorded."""
    folder = Path(__file__).parent
    html = (folder / "page.html").read_text(encoding="utf-8")
    for name in ("page.css", "page.js"):
        html = html.replace(f"{{{{ {name} }}}}", (folder / name).read_text(encoding="utf-8"))
    return html, _policy(html)


def api_page(description: dict[str, Any]) -> Page:
    """Return what an OpenAPI description says, as HTML."""
    parts = [
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{escape(operation.get('description', ''))}</p>{_parameters(operation)}{_responses(operation)}</section>"
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>API of Kinema</title><style>{style}</style></head>'
        f"<body><main><h1>API</h1><p>{escape(description['info']['description'])} "
        'The description for programs is <a href="/openapi.json">openapi.json</a>.</p>'
        "<pre><code>curl --data-binary @clip.mp4 -H 'Content-Type: video/mp4' "
        "'http://127.0.0.1:8000/api/predict?top=3&amp;every=1'</code></pre>"
        f"{''.join(parts)}</main></body></html>"
    )
    return html, _policy(html)


def _parameters(operation: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one.get('description', ''))}"
        f"<td>{escape(str(one['schema'].get('default', '')))}"
        for one in operation.get("parameters", [])
    ]
    head = "<tr><th>parameter<th>meaning<th>default"
    return f"<table><thead>{head}<tbody>{''.join(rows)}</table>" if rows else ""


def _responses(operation: dict[str, Any]) -> str:
    rows = [
        f"<tr><td>{status}<td>{escape(response['description'])}"
        for status, response in sorted(operation["responses"].items())
    ]
    return f"<table><thead><tr><th>status<th>meaning<tbody>{''.join(rows)}</table>"


def _policy(html: str) -> str:
    """Return a policy that allows the inline scripts and styles of a page, and nothing from elsewhere."""
    scripts, styles = (
        " ".join(
            f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        )
        or "'none'"
        for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
