"""Headless Chromium for tests of pages, where it is installed: over a pipe, without a driver."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "google-chrome", "chromium-browser", "chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)

_WIRE = """import os, sys
for inside, outside in ((3, sys.argv[1]), (4, sys.argv[2])):
    os.dup2(int(outside), inside)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """A page of a local file; `problems` are errors in its console, `requests` all addresses that
    it asked for."""

    def __init__(self, path: Path, width: int = 1200, height: int = 800, phone: bool = False):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        inner_read, self._write = os.pipe()
        self._read, inner_write = os.pipe()
        # Chromium reads from 3 and writes to 4.
        given = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (inner_read, inner_write)]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _WIRE, *map(str, given), PROGRAM),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                f"--user-data-dir={self._folder.name}",
                "--remote-debugging-pipe",
                "about:blank",
            ],
            pass_fds=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in given:
            os.close(fd)
        os.close(inner_read)
        os.close(inner_write)
        self._number, self._held, self._session = 0, b"", None
        self.problems, self.requests, self._loaded = [], [], False
        pages = self.send("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.send("Page.navigate", url=Path(path).resolve().as_uri())
        while not self._loaded:
            self._next()

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *error) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._folder.cleanup()

    def send(self, method: str, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str):
        """The value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < until, f"never came true: {script}"
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """kind: mousePressed, mouseReleased or mouseMoved."""
        pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def _next(self) -> dict:
        while b"\0" not in self._held:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser ended"
            self._held += part
        text, _, self._held = self._held.partition(b"\0")
        message = json.loads(text)
        method, details = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(details["exceptionDetails"])
        elif method == "Log.entryAdded":
            self.problems.append(details["entry"])
        elif method == "Network.requestWillBeSent":
            url = details["request"]["url"]
            self.requests += [url] * (not url.startswith("data:"))
        elif method == "Page.loadEventFired":
            self._loaded = True
        return message
