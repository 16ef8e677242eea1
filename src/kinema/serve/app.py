"""The application: page, JSON API, limits."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kinema.errors import MediaError, UserError
from kinema.serve.answers import Answers
from kinema.serve.guard import Guard, error
from kinema.serve.options import ServeOptions
from kinema.serve.page import api_page, main_page
from kinema.serve.uploads import upload_file
from kinema.version import __version__

_SIMPLE = ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded")
"""Content types that a page of another site may send without being asked (CORS)."""

_BLOCK = 1 << 20
"""Bytes of an upload that are written at a time."""


class Label(BaseModel):
    """A class and its probability."""

    label: str
    score: float


class WindowAnswer(BaseModel):
    """Classes of a part of the video, in seconds."""

    start: float
    end: float
    predictions: list[Label]


class Answer(BaseModel):
    """Classes of a video, best first; `windows` along it if `every` was given."""

    predictions: list[Label]
    frames: int
    seconds: float | None
    windows: list[WindowAnswer]


class Error(BaseModel):
    """What is wrong."""

    error: str


class Health(BaseModel):
    """State of the server. requests: uploads in progress."""

    status: str
    version: str
    requests: int
    max_requests: int


class Model(BaseModel):
    """The model, and what uploads may be."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    classes: list[str]
    max_mib: float
    max_seconds: float


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "Incomplete upload"},
    401: {"model": Error, "description": "No token, or a wrong one"},
    403: {"model": Error, "description": "Sent by a page of another site"},
}
_FAULTS: dict[int | str, dict[str, Any]] = {
    **_REFUSALS,
    408: {"model": Error, "description": "The upload took too long"},
    413: {"model": Error, "description": "The upload is too large"},
    415: {"model": Error, "description": "Sent as a form or as text"},
    422: {"model": Error, "description": "No video, or one beyond the limits; or wrong parameters"},
    429: {"model": Error, "description": "Too many requests at a time"},
    503: {"model": Error, "description": "The answer took too long"},
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a video file; any content type but those of forms and text.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/octet-stream", "video/mp4", "video/webm")
        },
    }
}


def create_app(
    answers: Answers, options: ServeOptions, folder: Path, *, name: str, stop: Callable[[], None] = lambda: None
) -> FastAPI:
    """Return the application.

    Args:
        answers: the model.
        options: limits and token.
        folder: receives uploads.
        name: name of the model to show.
        stop: called when the application ends.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        answers.close()
        stop()

    app = FastAPI(
        title="Kinema", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description=f"Classifies videos by {name}.",
    )  # fmt: skip
    app.add_middleware(Guard, host=options.host, token=options.token)
    _add_error_handlers(app)
    service = _Service(answers, options, folder)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        html, policy = main_page()
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        html, policy = api_page(app.openapi())
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    @app.get("/health", responses={403: _REFUSALS[403]})
    async def health() -> Health:
        """Return whether the server answers, and how busy it is."""
        return Health(status="ok", version=__version__, requests=service.requests, max_requests=options.max_requests)

    @app.get("/api/model", responses={status: _REFUSALS[status] for status in (401, 403)})
    async def model() -> Model:
        """Return the model's classes and the limits of uploads."""
        return Model(name=name, classes=list(answers.classes), max_mib=options.max_mib, max_seconds=options.max_seconds)

    @app.post("/api/predict", responses=_FAULTS, openapi_extra=_UPLOAD)
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, le=1000, description="Number of classes")] = 5,
        every: Annotated[
            float, Query(ge=0, le=3600, description="Seconds from window to window along the video; 0: none")
        ] = 0.0,
        window: Annotated[float, Query(gt=0, le=3600, description="Seconds of a window")] = 2.0,
    ) -> Answer:
        """Classify the video that is the body of the request."""
        return Answer(**await service.predict(request, top=top, every=every, window=window))

    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, fault: RequestValidationError) -> JSONResponse:
        faults = (f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in fault.errors())
        return error(422, "; ".join(faults))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, fault: HTTPException) -> Response:
        response = error(fault.status_code, str(fault.detail))
        response.headers.update(fault.headers or {})
        return response


class _Service:
    """Receives uploads and answers them, so many at a time."""

    def __init__(self, answers: Answers, options: ServeOptions, folder: Path) -> None:
        self._answers, self._options, self._folder = answers, options, folder
        self.requests = 0

    async def predict(self, request: Request, **parameters: Any) -> dict[str, Any]:
        """Answer a request, whose body is a video."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _SIMPLE:
            raise HTTPException(
                415, f"{kind} is no video: send the file's bytes as application/octet-stream or video/*"
            )
        if self.requests >= self._options.max_requests:
            raise HTTPException(429, "too many requests at a time: try again", headers={"Retry-After": "1"})
        self.requests += 1
        try:
            with upload_file(self._folder) as file:
                rest = await self._receive(request, file)
                return await self._answer(file, rest, parameters)
        finally:
            self.requests -= 1

    async def _receive(self, request: Request, file: Path) -> list[bytes]:
        """Write the body of a request, but for its end, which is returned: the thread that decodes it writes that."""
        most, received, written, waiting = int(self._options.max_mib * 2**20), 0, 0, list[bytes]()
        too_large = HTTPException(413, f"the upload is larger than {self._options.max_mib:g} MiB")
        if int(request.headers.get("content-length", "0") or 0) > most:
            raise too_large
        try:
            async with asyncio.timeout(self._options.timeout):
                async for chunk in request.stream():
                    received += len(chunk)
                    if received > most:
                        raise too_large
                    waiting.append(chunk)
                    if received - written >= _BLOCK:
                        await asyncio.to_thread(_append, file, waiting)
                        waiting, written = [], received
        except TimeoutError:
            raise HTTPException(408, f"the upload took longer than {self._options.timeout:g} s") from None
        except ClientDisconnect:
            raise HTTPException(400, "the upload is incomplete") from None
        if not received:
            raise HTTPException(422, "the upload is empty: send the bytes of a video file")
        return waiting

    async def _answer(self, file: Path, rest: list[bytes], parameters: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + self._options.timeout
        late = HTTPException(503, "the answer took too long: try again later", headers={"Retry-After": "10"})

        def answer() -> dict[str, Any]:
            _append(file, rest)
            return self._answers.answer(file, deadline=deadline, **parameters)

        compute = asyncio.get_running_loop().run_in_executor(self._answers.pool, answer)
        try:
            async with asyncio.timeout(self._options.timeout):
                return await compute
        except TimeoutError:
            raise late from None
        except MediaError as fault:
            raise HTTPException(422, f"the upload cannot be read: {fault.reason}") from None
        except UserError as fault:
            raise HTTPException(422, str(fault)) from None


def _append(file: Path, parts: Iterable[bytes]) -> None:
    with file.open("r+b") as output:  # does not create the file of an upload that was given up meanwhile
        output.seek(0, os.SEEK_END)
        output.writelines(parts)
