"""An independent OpenID provider for tests: panva's certified `oidc-provider`, in a process of Node.js, on loopback.

Its discovery, keys, device grant, pages and tokens are its own; `provider/server.mjs` gives it people and a pace. A
person's part is played with the forms that its pages show.
"""

import html
import json
import queue
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.servers import NotInstalled

CLIENT = "inbond"
START_S = 20.0
FOLDER = Path(__file__).parent / "provider"


class NoProvider(Exception):
    """The provider does not start."""


@dataclass(frozen=True)
class Settings:
    """`people` are claims by login; a code lives `code_s`. Without `nonce` the provider leaves it out, as by itself.

    `interval` is the pace that is announced, 0 for none; who polls sooner than `pace` seconds after the last time is
    told to slow down, and again if it is then sooner than `slower`.
    """

    cert: Path
    key: Path
    people: Mapping[str, Mapping[str, Any]]
    nonce: bool = True
    interval: int = 1
    pace: float = 0.5
    slower: float = 5.5  # of the announced second, and five
    code_s: int = 120

    def write(self, path: Path, port: int) -> None:
        """For `server.mjs`."""
        value = asdict(self) | {"cert": str(self.cert), "key": str(self.key), "port": port, "client": CLIENT}
        value["codeSeconds"] = value.pop("code_s")
        path.write_text(json.dumps(value), "utf-8")


@dataclass
class RealProvider:
    """The running provider; `polls` are its answers at the token endpoint, an error or `token`, as it says them."""

    settings: Settings
    issuer: str = ""
    polls: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    _listener: threading.Thread = field(default_factory=threading.Thread)

    def start(self) -> None:
        """Start it, with new keys, at the port that it had before; raises NoProvider or NotInstalled."""
        node = shutil.which("node") or shutil.which("nodejs")
        if node is None or not (FOLDER / "node_modules" / "oidc-provider").is_dir():
            raise NotInstalled("oidc-provider is not installed; run .ci/oidc")
        port = int(self.issuer.rpartition(":")[2] or 0)
        with tempfile.TemporaryDirectory() as folder, (Path(folder) / "errors").open("w+") as errors:
            self.settings.write(Path(folder) / "settings.json", port)
            self.process = subprocess.Popen(
                [node, str(FOLDER / "server.mjs"), f"{folder}/settings.json"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            said: queue.Queue[dict[str, Any]] = queue.Queue()
            self._listener = threading.Thread(target=self._listen, args=(self.process, said), daemon=True)
            self._listener.start()
            try:
                self.issuer = said.get(timeout=START_S)["issuer"]
            except (queue.Empty, KeyError):
                self.process.kill()
                self.stop()
                errors.seek(0)
                raise NoProvider(f"oidc-provider does not start: {errors.read()[-2000:]}") from None

    def stop(self) -> None:
        """End it, which closing its standard input does, and see that it is gone."""
        if self.process is not None and self.process.stdin is not None and self.process.stdout is not None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            finally:
                self.process.kill()  # does nothing to one that is gone
                self.process.wait()
            self._listener.join(10)
            self.process.stdout.close()

    def _listen(self, process: "subprocess.Popen[str]", said: "queue.Queue[dict[str, Any]]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):  # a notice of oidc-provider itself
                continue
            value = json.loads(line)
            if "issuer" in value:
                said.put(value)
            else:
                self.polls.append(value["answer"])
        said.put({})

    def answers(self, count: int) -> list[str]:
        """The first `count` of `polls`; fails when they do not come."""
        deadline = time.monotonic() + START_S
        while len(self.polls) < count:
            assert time.monotonic() < deadline, f"asked {len(self.polls)} times"
            time.sleep(0.02)
        return self.polls[:count]


class Browser:
    """Follows the provider's pages as a person does: opens one, fills in the form that it shows, sends it."""

    def __init__(self, provider: RealProvider) -> None:
        self._http = httpx.Client(
            verify=ssl.create_default_context(cafile=provider.settings.cert),
            follow_redirects=True,
            timeout=20,
            trust_env=False,
        )
        self._page = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.close()

    def open(self, url: str) -> str:
        """Go to a page; its text."""
        return self._seen(self._http.get(url))

    def send(self, **typed: str) -> str:
        """Send the page's form with these fields beside those that it has; the text of the page that follows."""
        form = re.search(r"<form[^>]*action=\"([^\"]+)\"[^>]*>(.*?)</form>", self._page, re.DOTALL)
        assert form, self._page
        hidden = dict(re.findall(r"<input type=\"hidden\" name=\"([^\"]+)\" value=\"([^\"]*)\"", form[2]))
        return self._seen(self._http.post(html.unescape(form[1]), data=hidden | typed))

    def refuse(self) -> str:
        """Follow the page's link that cancels; the text of the page that follows."""
        link = re.search(r"href=\"([^\"]*/abort)\"", self._page)
        assert link, self._page
        return self.open(html.unescape(link[1]))

    def log_in(self, url: str, code: str, name: str) -> str:
        """Type the code, confirm it, log in as `name`: the page on which this person is asked for consent."""
        self.open(url)
        assert "Confirm Device" in self.send(user_code=code)
        assert "Sign-in" in self.send()
        return self.send(login=name, password="any")

    def agree(self) -> str:
        """Consent."""
        return self.send()

    def _seen(self, answer: httpx.Response) -> str:
        self._page = answer.text
        return self._page
