"""``tinygrad-relu play``: a local page in which units die and return."""
from __future__ import annotations

import argparse

from .options import DEFAULT, Command, one_of, whole


def options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--data", type=one_of("play.playground.SETS", "data"), default="moons", metavar="NAME",
           help="one of moons, spiral, digits" + DEFAULT)
    option("--seed", type=whole, default=0, metavar="N", help="random seed of the weights and of synthetic data" + DEFAULT)
    option("--port", type=whole, default=5010, metavar="N", help="port of the page on this computer; 0: any free one" + DEFAULT)
    option("--no-browser", action="store_true", help="print the address, and open no browser")


def run(arguments: argparse.Namespace) -> int:
    from ..missing import needing

    if not 0 <= arguments.port < 65536:
        raise ValueError(f"--port is {arguments.port}, expected a number from 0 to 65535")
    with needing("the page needs", "play"):
        from ..play.page import serve
    serve(arguments.port, arguments.data, arguments.seed, show=not arguments.no_browser)
    return 0


COMMANDS = [Command("play", "open a local page in which units die and return before your eyes", options, run)]
