"""Takes the picture of docs/inspect.md: `python docs/inspect_picture.py`. Needs chromium, chromedriver and selenium."""

import base64
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

TEXT = (
    "Once upon a time there was a brave little bear who lived in the deep dark forest. "
    'One day the bear met a fox. "Why are you so sad?" asked the bear.'
)
WIDTH, HEIGHT = 1280, 960


def picture(page: Path, target: Path) -> None:
    """A picture of the upper part of `page` with one token chosen."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.get(page.as_uri())
        driver.execute_script("document.getElementById('tokens-9').focus({preventScroll: true})")
        driver.execute_script("document.activeElement.blur()")
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    finally:
        driver.quit()
    target.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        subprocess.run([sys.executable, "-m", "arrayformer", "inspect", TEXT, "--html", str(page)], check=True)
        picture(page, Path(__file__).with_name("inspect.png"))
