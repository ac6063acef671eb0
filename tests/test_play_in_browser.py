"""``tinygrad-relu play`` in a real browser: sliders move, units are killed, and what was foretold comes true on the page."""
import http.client
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest
from browser import browser, page

from tinygrad_relu import cli
from tinygrad_relu.lab.layers import State
from tinygrad_relu.play import Playground


@pytest.fixture(scope="module")
def server():
    """The command in a process of its own, and the address that it prints; at the end Ctrl-C, which it takes as its end."""
    with subprocess.Popen([sys.executable, "-m", "tinygrad_relu", "play", "--port", "0", "--no-browser"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        url = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        yield process, url[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0 and "Traceback" not in process.stderr.read()


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


SAID = r"""() => {            // all text of the page, also that inside Bokeh's controls
    const texts = (node) => [...node.childNodes].flatMap(child => child.nodeType == 3 ? [child.data] : [
        ...(child.shadowRoot ? texts(child.shadowRoot) : []), ...(child.tagName == "STYLE" ? [] : texts(child))])
    return texts(document.body).join(" ").replace(/\s+/g, " ")}"""


def wait(p, *parts, without="replaying"):
    """Until the page says these parts, and not another."""
    p.wait_for_function(f"([parts, without]) => {{ const said = ({SAID})(); return parts.every(one => said.includes(one)) && !said.includes(without) }}",
                        arg=[list(parts), without], polling=100)
    return p.evaluate(SAID)


def brightness(colour):
    """The relative luminance of "#rrggbb", plus 0.05: the contrast of two colours is a ratio of these (WCAG)."""
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.05 + sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear))


def bits(said):
    return re.search(r"bits of the network: (\w+)", said)[1]


def test_a_unit_is_killed_and_returns_at_the_foretold_step_and_the_link_repeats_it(server, chromium):
    with page(chromium) as p:
        p.goto(server[1])
        wait(p, "step 0, loss")
        for name, presses in (("learning rate", ["ArrowLeft", "ArrowRight"]), ("momentum", ["ArrowRight"] * 3), ("weight decay", ["End", "ArrowLeft"])):
            handle = p.locator(f".bk-slider-title:has-text('{name}')").locator("xpath=..").locator(".noUi-handle")
            handle.focus()
            for key in presses:
                handle.press(key)
        wait(p, "weight decay: 0.05", "momentum: 0.9")
        p.locator("select[name=unit]").select_option(label="unit 3 of layer 0")
        wait(p, "Unit 3 of layer 0 is alive", without="choose here")
        p.get_by_role("button", name="Kill the unit").click()
        wait(p, "returns at step 48.")
        for step in (1, 2):
            p.get_by_role("button", name="Step", exact=True).click()
            wait(p, f"step {step}, loss")
        p.get_by_role("button", name="Run").click()
        wait(p, "It returned at step 48, as foretold.")
        p.get_by_role("button", name="Pause").click()
        said = wait(p, "1 return at the foretold step, 0 not as foretold", without="Pause")
        p.wait_for_function("step => location.search.endsWith('step=' + step)", arg=re.search(r"step (\d+), loss", said)[1])
        link, found = p.url, bits(said)
    assert "do=0+weight_decay+0.05" in link and "do=0+kill+0+3" in link
    play = Playground.of(link.partition("?")[2]).replay()
    assert play.fingerprint() == found and [(claim.unit, came) for claim, came in play.settled if claim.layer == 0] == [(3, 48)]
    with page(chromium, wide=390, high=800, dark=True) as p:
        p.goto(link)
        assert bits(wait(p, "It returned at step 48, as foretold.", "bits of the network")) == found
        p.wait_for_function("link => location.href == link", arg=link)
        assert p.evaluate("document.documentElement.scrollWidth") == 390
        assert p.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 25, 29)"
        used = p.evaluate("[...Bokeh.documents[0]._all_models.values()].find(m => m.type == 'LinearColorMapper').palette")
        assert min(brightness(colour) for colour in used[:len(State)]) > 3 * brightness("#20242a")     # on a dark card


def test_digits_a_click_on_a_life_line_a_treatment_and_what_cannot_be_done(server, chromium):
    with page(chromium) as p:
        p.goto(server[1] + "?data=digits&widths=8-8&do=0+lr+10&step=12")
        wait(p, "step 12, loss")
        canvas = p.locator("section[aria-label='The life of every unit']").locator(".bk-events")
        canvas.click(position={"x": 200, "y": 20})
        wait(p, "Unit 0 of layer 0 is dead")
        p.locator("select[name=treatment]").select_option(label="Adam")
        p.get_by_role("button", name="Treat").click()
        wait(p, "learning rate: 0.001")
        assert p.locator(".bk-slider-title:has-text('momentum')").locator("xpath=..").locator(".noUi-target[disabled]").count() == 1
        p.locator("select[name=activation]").select_option(label="tanh")
        p.get_by_role("button", name="Kill its layer").click()
        p.get_by_role("alert").wait_for()
        wait(p, "tanh, which has no flat side below")
        p.get_by_label("hidden units").fill("9-x")
        p.get_by_role("button", name="New network").click()
        wait(p, "a width is 'x', expected a whole number")
        assert p.get_by_label("hidden units").input_value() == "9-x"        # to be mended, not typed again
        p.goto(server[1] + "?do=5+kill+7+1&step=20")
        wait(p, "The link cannot be followed: kill: layer is 7", "step 5, loss")
        p.goto(server[1] + "?data=moon")
        wait(p, "The link cannot be followed: the data is 'moon'")


def test_only_this_computer_and_only_this_page_are_let_in(server, capsys):
    process, url = server
    listening = [one.laddr for one in psutil.Process(process.pid).net_connections() if one.status == psutil.CONN_LISTEN]
    port = listening[0].port
    assert [one.ip for one in listening] == ["127.0.0.1"] and f":{port}/" in url
    for origin, status in (("http://elsewhere.example", 403), (f"http://127.0.0.1:{port + 1}", 403)):
        asked = http.client.HTTPConnection("127.0.0.1", port)
        asked.request("GET", "/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                                             "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": origin})
        assert asked.getresponse().status == status
        asked.close()
    assert cli.main(["play", "--port", str(port), "--no-browser"]) == 2
    assert capsys.readouterr().err == (f"tinygrad-relu play: port {port} of 127.0.0.1 cannot be used: Address already in use; "
                                       "--port 0 finds a free one\n")
    assert cli.main(["play", "--port", "70000"]) == 2 and "--port is 70000, expected" in capsys.readouterr().err
