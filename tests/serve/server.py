"""A server in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


class Server:
    """A running `kinema serve`; `uploads` is the folder of its temporary files."""

    def __init__(self, model: Path, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "kinema", "serve", str(model), "--port", "0", *arguments]
        self.uploads = folder / f"kinema-uploads-{os.getuid()}"
        environment = {**os.environ, "TMPDIR": str(folder)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        said = ""
        while (found := re.search(r"serving .* at (http://\S+)", said)) is None:
            line = self.process.stderr.readline()
            assert line, said
            said += line
        self.url = found[1]

    def post(self, content: object, path: str = "/api/predict", **options: object) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream", **options.pop("headers", {})}  # type: ignore[dict-item]
        return httpx.post(self.url + path, content=content, headers=headers, timeout=60, **options)  # type: ignore

    def files(self) -> list[Path]:
        """Uploads that are there now."""
        return [path for path in self.uploads.rglob("*") if path.is_file() and path.name != "lock"]

    def memory(self) -> int:
        """Resident memory in bytes."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        assert "Traceback" not in said, said
        return self.process.returncode


@contextmanager
def serving(model: Path, folder: Path, *arguments: str) -> Iterator[Server]:
    server = Server(model, folder, *arguments)
    try:
        yield server
    finally:
        server.stop()
