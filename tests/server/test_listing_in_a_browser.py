"""What the page of a directory does in a real browser: it sorts and filters, and every link leads where it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
import requests

from httpserve import HttpServerClient

CHROMIUM = shutil.which("chromium")
BROWSER_SECONDS = 50
# A page of the same origin may look into another one, and touch it as a person does.
TOUCH = """<!DOCTYPE html><pre></pre><iframe src="boot"></iframe><script>
document.querySelector("iframe").onload = ({target}) => {
  const page = target.contentDocument, [name, size, time] = page.querySelectorAll("th");
  const shown = () => [...page.querySelectorAll("tbody tr")].filter(row => !row.hidden).map(row => row.textContent);
  const seen = {first: shown()};
  size.click(); seen.bySize = shown();
  size.click(); seen.bySizeDown = shown();
  name.click(); seen.byName = shown();
  const filter = page.getElementById("filter");
  filter.value = "DTB"; filter.oninput(); seen.filtered = shown();
  seen.count = page.getElementById("count").textContent;
  seen.links = [...page.links].map(link => link.href);
  document.querySelector("pre").textContent = JSON.stringify(seen);
};
</script>"""


def names(rows: list[str]) -> list[str]:
    return [re.split(r"[0-9.]+ [KMGi]*B|20\d\d-|1970-", row)[0] for row in rows]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_listing_sorts_and_filters_and_its_links_lead_right(tmp_path: Path) -> None:
    (tmp_path / "boot" / "overlays").mkdir(parents=True)
    for name, size in (("a2.dtb", 3000), ("a10.dtb", 20), ("Image", 5 << 20), ("z<b>.txt", 0)):
        with (tmp_path / "boot" / name).open("wb") as file:
            file.truncate(size)
    (tmp_path / "touch.html").write_text(TOUCH)
    with HttpServerClient(tmp_path, "127.0.0.1") as http:
        done = subprocess.run(
            [
                *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"),
                *(f"--user-data-dir={tmp_path.parent / 'browser'}", "--dump-dom", http.get_url("touch.html")),
            ],
            capture_output=True,
            text=True,
            timeout=BROWSER_SECONDS,
        )
        top = http.get_url("boot").removesuffix("boot")
        missing = http.missing

    seen = json.loads(unescape(re.findall("<pre>(.*?)</pre>", done.stdout)[0]))
    assert names(seen["first"]) == ["../", "overlays/", "Image", "a10.dtb", "a2.dtb", "z<b>.txt"]
    assert names(seen["bySize"]) == ["../", "overlays/", "z<b>.txt", "a10.dtb", "a2.dtb", "Image"]
    assert names(seen["bySizeDown"]) == ["../", "overlays/", "Image", "a2.dtb", "a10.dtb", "z<b>.txt"]
    assert names(seen["byName"]) == ["../", "overlays/", "a2.dtb", "a10.dtb", "Image", "z<b>.txt"]
    assert names(seen["filtered"]) == ["../", "a2.dtb", "a10.dtb"]
    assert seen["count"] == "2 of 5 entries"
    boot = ["overlays/", "a2.dtb", "a10.dtb", "Image", "z%3Cb%3E.txt"]
    assert seen["links"] == [top, top, *(f"{top}boot/{name}" for name in boot)]
    assert missing == ()


def test_a_browser_that_asks_for_what_is_not_there_gets_links_to_what_is(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("boot/a <b> Image", b"x")
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}

    page = requests.get(bench.get_url("boot/a <b> image"), headers=browser, timeout=10)
    line = requests.get(bench.get_url("boot/a <b> image"), timeout=10)

    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "<code>boot/a &lt;b&gt; image</code>" in page.text
    links = [unescape(link) for link in re.findall(r'<a href="(.*?)">', page.text)]
    shown = [unescape(text) for text in re.findall(r"<a .*?>(.*?)</a>", page.text)]
    assert links == ["/boot/a%20%3Cb%3E%20Image", "/"]
    assert shown == ["/boot/a <b> Image", "/"]
    assert requests.get(bench.get_url().rstrip("/") + links[0], timeout=10).content == b"x"
    assert line.text == "404 Not Found: there is no such file\n"
