"""The distribution's own chromium, headless, which reaches this machine only."""

import shutil

from selenium import webdriver

from tests.patience import WAIT_LIMIT_S

SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # chromium refuses to run as root with it
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # a page that asks the network fails here too
    "--window-size=1400,1200",
)


def programs():
    """Paths of the browser and its driver, None where absent. Named, so that selenium fetches nothing."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None), shutil.which("chromedriver")


def start(log_path):
    """A headless browser that keeps every message of the console."""
    browser, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver, log_output=str(log_path))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(WAIT_LIMIT_S)
    driver.set_page_load_timeout(WAIT_LIMIT_S)
    driver.command_executor.client_config.timeout = 2 * WAIT_LIMIT_S  # for an answer, so that the two above come first
    return driver
