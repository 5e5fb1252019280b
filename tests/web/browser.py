"""A visit with Chromium that notices what a person may not: console errors, other origins, sideways scrolling."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (390, 1280)
MAX_REQUESTS = 12


@dataclass
class Visit:
    """One browser window of one person. `problems` collects everything that should not have happened."""

    page: Any
    context: Any
    url: str
    shots: Path
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Writes down errors, off-origin requests and how many files a page takes."""
        self.page.on("console", lambda message: self._noted(message) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(f"{self.page.url}: {error}"))
        self.page.on("request", self._asked)

    def shoot(self, name: str) -> None:
        """A picture at each width; notes a page that scrolls sideways or has a control too small for a finger."""
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            over = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if over > 0:
                self.problems.append(f"{name} at {width} px scrolls sideways by {over} px")
            small = self.page.evaluate(_SMALL_CONTROLS)
            if small:
                self.problems.append(f"{name} at {width} px has controls under 24 px: {small}")
            self.page.screenshot(path=self.shots / f"{name}-{width}.png", full_page=True)

    def picture(self, path: Path) -> None:
        """What a visitor sees first, without scrolling, for a document."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.set_viewport_size({"width": 1280, "height": 800})
        self.page.screenshot(path=path)

    def watch_job_to_its_end(self, *, seconds: float) -> None:
        """On a job's page: it must finish, and the page must say so without being loaded again."""
        self.page.wait_for_url("**/jobs/*")
        self.page.evaluate("window.notLoadedAgain = true")
        state = self.page.locator("[data-job] .state").first
        until = time.monotonic() + seconds
        while state.inner_text().strip() in {"Queued", "Running"}:
            if time.monotonic() > until:
                raise AssertionError(f"{self.page.url} is not done: {self.page.locator('main').inner_text()[-600:]}")
            time.sleep(0.25)
        assert state.inner_text().strip() == "Done", self.page.locator("main").inner_text()[:600]
        assert self.page.evaluate("window.notLoadedAgain === true"), "the page was loaded again"

    def without_scripts(self) -> Any:
        """A new window that runs no scripts."""
        return self.context.browser.new_context(java_script_enabled=False).new_page()

    def _noted(self, message: Any) -> None:
        self.problems.append(f"{self.page.url}: {message.text}")

    def _asked(self, request: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.problems.append(f"{self.page.url} asked {request.url}")
        if request.is_navigation_request():
            self.requests.clear()
        self.requests.append(request.url)
        if len([url for url in self.requests if "/jobs/" not in url and "/priors?" not in url]) > MAX_REQUESTS:
            self.problems.append(f"{self.page.url} takes more than {MAX_REQUESTS} requests")


@contextmanager
def open_visit(chromium: str, url: str, *, profile: Path, shots: Path) -> Iterator[Visit]:
    """A fresh profile in headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=[*FLAGS, f"--disk-cache-dir={profile}"])
        context = launched.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        context.set_default_timeout(20_000)
        visit = Visit(context.new_page(), context, url, shots)
        visit.listen()
        try:
            yield visit
        finally:
            launched.close()


_SMALL_CONTROLS = """
() => [...document.querySelectorAll('button, input, select, nav a, a.button, summary')]
  .filter((each) => each.checkVisibility() && each.type !== 'hidden' && each.type !== 'radio')
  .filter((each) => { const box = each.getBoundingClientRect(); return box.width < 24 || box.height < 24 })
  .map((each) => each.outerHTML.slice(0, 80))
"""
