"""Headless Chromium, and a proxy on loopback through which all that it asks for must go.

The proxy serves the pages that a test gives it as http://dashboard.test/NAME, records every other request
and answers it with 404: nothing leaves the machine, and what a page asks for is known whole. What the browser
asks its maker by itself (updates, the time, sign-in) is left out of the record.
"""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import lxml.html
import pytest

HOST = "dashboard.test"
MAKER = re.compile(r"(https?://)?(?!fonts\.)[\w.-]*\b(google|googleapis|gvt1)\.com(:443)?(/.*)?")
NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (  # what a browser does by itself: updates, first-run pages, sign-in
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-features=NetworkTimeServiceQuerying,OptimizationHints,MediaRouter,Translate",
)
# Reports on the page in the frame: what a person reads, its size, and whether anything in it took hold.
WRAPPER = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<iframe id="frame" src="{page}" style="width: {width}px; height: 600px; border: 0"></iframe>
<script>
window.alert = () => {{ window.ran = true; }};
document.getElementById("frame").addEventListener("load", (event) => {{
  const page = event.target.contentDocument, root = page.documentElement;
  const put = (name, value) => {{
    const line = document.createElement("pre");
    line.id = name; line.textContent = value; document.body.append(line);
  }};
  put("text", page.body.innerText);
  put("title", page.title);
  put("overflow", root.scrollWidth - root.clientWidth);
  const boxes = [...page.querySelectorAll("section, header, td, li, dd")];
  const clipped = boxes.filter((e) => e.scrollWidth > e.clientWidth + 1);
  put("clipped", clipped.map((e) => e.id || e.tagName).join(" "));
  put("ran", Boolean(window.ran || event.target.contentWindow.ran));
  const tokens = [...page.querySelectorAll(".examples bdi")];
  put("shades", tokens.map((e) => getComputedStyle(e).backgroundColor).join(";"));
  const bars = [...page.querySelectorAll("svg g rect")];
  put("bars", bars.filter((e) => e.getBoundingClientRect().height > 0).length);
}});
</script>"""


class Browser:
    """Chromium behind the proxy; `pages`: name -> HTML; `asked`: the URLs of all other requests."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Proxy,), {"browser": self}))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def dump(self, address: str) -> lxml.html.HtmlElement:
        """The page's document once it has loaded and its scripts have run."""
        command = [
            self.program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            *QUIET,
            f"--user-data-dir={self.folder / 'profile'}",
            f"--proxy-server=127.0.0.1:{self.server.server_port}",
            "--proxy-bypass-list=<-loopback>",  # loopback addresses too
            "--virtual-time-budget=3000",
            "--dump-dom",
            address,
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        return lxml.html.document_fromstring(done.stdout.decode())

    def seen(self, page: str, width: int = 1200) -> dict[str, str]:
        """What WRAPPER reports of a page (its HTML) that is `width` px wide."""
        wrapper = WRAPPER.format(page="page.html", width=width)
        self.pages |= {"page.html": page, "wrapper.html": wrapper}
        document = self.dump(f"http://{HOST}/wrapper.html")
        return {line.get("id"): line.text_content() for line in document.findall(".//pre")}


class Proxy(BaseHTTPRequestHandler):
    """Serves the browser's pages and records the rest, https (CONNECT) included."""

    browser: Browser

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        page = self.browser.pages.get(address.path[1:]) if address.netloc == HOST else None
        if page is None:
            self.refuse()
            return
        body = page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self) -> None:
        if not MAKER.fullmatch(self.path):
            self.browser.asked.append(self.path)
        self.send_error(404)

    do_CONNECT = do_POST = do_HEAD = refuse

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    found = Browser(program, tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()
