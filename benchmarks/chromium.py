"""Drive a headless Chromium over its pipe, by the Chrome DevTools Protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
SAID = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Chromium:
    """A browser with one page; ends with its block.

    Attributes
    ----------
    messages : list of str
        What the console said.
    requests : list of str
        Addresses that the page asked for, once ``Network.enable`` was called; without data URLs.
    """

    def __init__(self, profile: Path, *, dark: bool = False, size: str = "1400,900") -> None:
        there, here = os.pipe(), os.pipe()
        flags = f"--headless=new --no-sandbox --disable-gpu --remote-debugging-pipe --mute-audio \
            --disable-quic --no-first-run --disable-background-networking --disable-sync \
            --disable-component-update --user-data-dir={profile} --window-size={size} \
            --blink-settings=preferredColorScheme={int(not dark)}"
        # The browser reads file descriptor 3 and writes to 4.
        shell = f"exec {PROGRAM} {flags} about:blank 3<&{there[0]} 4>&{here[1]} 2>/dev/null"
        self._process = subprocess.Popen(["bash", "-c", shell], pass_fds=(there[0], here[1]))
        os.close(there[0])
        os.close(here[1])
        self._out, self._in = os.fdopen(there[1], "wb", 0), os.fdopen(here[0], "rb")
        self._number, self._session = 0, ""
        self.messages: list[str] = []
        self.requests: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.close()  # which ends the browser
        self._in.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") in SAID:
                self.messages.append(json.dumps(answer["params"]))
            elif answer.get("method") == "Network.requestWillBeSent":
                address = answer["params"]["request"]["url"]
                if not address.startswith("data:"):
                    self.requests.append(address)

    def run(self, code: str) -> Any:
        """Return the value of an expression of JavaScript; of a promise, what it becomes."""
        done = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(str(done["exceptionDetails"]))
        return done["result"].get("value")

    def until(self, condition: str, *, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(RuntimeError):  # names are missing while the page is replaced
                if self.run(f"Boolean({condition})"):
                    return
            time.sleep(0.01)
        raise TimeoutError(f"{condition} did not become true in {seconds:g} s")

    def picture(self, path: Path) -> None:
        """Write what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _read(self) -> bytes:
        message = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            if not byte:
                raise EOFError("Chromium has ended")
            message += byte
        return bytes(message)
