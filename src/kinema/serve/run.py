"""Running of a server."""

import asyncio
import logging
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from types import FrameType

from kinema.api import load
from kinema.errors import MissingPackage, UserError
from kinema.serve.options import LOCAL, ServeOptions
from kinema.serve.uploads import upload_folder
from kinema.tasks.timeline.scorer import clip_scorer

log = logging.getLogger(__name__)

_SHORTEST_TOKEN = 16


def serve(model: str | Path, options: ServeOptions, *, recipe: str = "") -> None:
    """Serve a model until the process is asked to end (SIGINT, SIGTERM); call it in the main thread.

    Raises:
        UserError: the model scores no RGB clips, the address is not available, or it needs a token.
        MissingPackage: FastAPI or uvicorn is not installed.
    """
    options = replace(options, token=options.token or os.environ.get("KINEMA_SERVE_TOKEN", ""))
    _check_token(options)
    try:
        import uvicorn

        from kinema.serve.answers import Answers
        from kinema.serve.app import create_app
    except ModuleNotFoundError as error:
        raise MissingPackage(f"kinema serve needs {error.name}: pip install 'kinema[serve]'") from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(
            number, _end
        )  # uvicorn raises the signal again once it has stopped: uploads are still to be removed
    predictor = clip_scorer(load(model, device=options.device, recipe=recipe))
    answers = Answers(predictor, options)
    with _listening(options) as listener, upload_folder() as folder:
        app = create_app(answers, options, folder, name=_name(model))
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=10,
            ws="none", lifespan="on",
        )  # fmt: skip
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        host = f"[{options.host}]" if ":" in options.host else options.host
        log.info("serving %s at http://%s:%d", _name(model), host, listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Return whether a message is not of an upload that the end of the server has cut off, which needs no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _name(model: str | Path) -> str:
    return Path(str(model)).name


def _check_token(options: ServeOptions) -> None:
    if options.token and len(options.token) < _SHORTEST_TOKEN:
        raise UserError(f"--token must have {_SHORTEST_TOKEN} characters or more, so that it is not guessed")
    if options.token and not (options.token.isascii() and options.token.isprintable() and " " not in options.token):
        raise UserError("--token: letters, digits and punctuation of ASCII, without spaces")
    if not options.token and options.host not in LOCAL:
        raise UserError(
            f"--host {options.host} is reached from other machines: pass a --token that requests must send, or listen "
            "on 127.0.0.1"
        )


def _listening(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        raise UserError(
            f"--host {options.host} --port {options.port}: {error.strerror or error}; --port 0 takes a free port"
        ) from error
