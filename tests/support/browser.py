"""Headless Chromium through chromedriver's own protocol (W3C WebDriver), without another package."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.mlflow_server import free_port

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "needs chromium and chromedriver (Debian: apt-get install chromium-driver)"
_NOT_OURS = ("users/current", "favicon", "ERR_INTERNET_DISCONNECTED", "ERR_NAME_NOT_RESOLVED", "ERR_BLOCKED_BY_CLIENT")


class Browser:
    """One window; no request leaves this machine."""

    def __init__(self, width: int = 1280, height: int = 1600):
        port = free_port()
        self._driver = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._base = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"]
        arguments += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--hide-scrollbars"]
        wanted = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self._wait_for_driver()
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ask("DELETE", self._session)
        self._driver.terminate()
        self._driver.wait(timeout=30)

    def open(self, url: str) -> None:
        self._ask("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value that a JavaScript function body returns."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def text(self) -> str:
        """What the page shows as text."""
        return str(self.run("return document.body.innerText"))

    def wait_for(self, words: str, seconds: float = 60) -> str:
        """The page's text once it holds `words`."""
        return self.wait(lambda: words in self.text(), words, seconds)

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                said = f"its scripts: {self.errors()}; the page shows: {self.text()[:2000]}"
                raise AssertionError(f"{what!r} never came; {said}")
            time.sleep(0.3)
        return self.text()

    def picture(self, path: Path) -> None:
        """A screenshot of the whole page as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        asked = {"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": True}}
        made = self._ask("POST", f"{self._session}/goog/cdp/execute", asked)
        path.write_bytes(base64.b64decode(made["data"]))

    @contextmanager
    def frame(self) -> Iterator[None]:
        """What is asked meanwhile is asked of the page's first frame."""
        found = self._ask("POST", f"{self._session}/element", {"using": "css selector", "value": "iframe"})
        self._ask("POST", f"{self._session}/frame", {"id": found})
        try:
            yield
        finally:
            self._ask("POST", f"{self._session}/frame", {"id": None})

    def errors(self) -> list[str]:
        """What the page's scripts complained about since the last call; what is not on this machine does not count."""
        lines = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        severe = [str(line["message"]) for line in lines if line["level"] == "SEVERE"]
        return [line for line in severe if not any(word in line for word in _NOT_OURS)]

    def broken_images(self) -> list[str]:
        script = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt || i.src)"
        found: list[str] = self.run(script)
        return found

    def _ask(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"chromedriver: {error.read().decode()[:500]}") from None

    def _wait_for_driver(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if self._ask("GET", "/status")["ready"]:
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise RuntimeError("chromedriver does not answer") from None
            time.sleep(0.2)
