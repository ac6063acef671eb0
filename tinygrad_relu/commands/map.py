"""``tinygrad-relu map``: the step at which a dead unit returns, over momentum and rate times decay."""
from __future__ import annotations

import argparse
import json

from .options import DEFAULT, Command, check_files, number, whole


def options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--figure", metavar="FILE", default="map.png", help="the picture (PNG, SVG or PDF)" + DEFAULT)
    option("--steps", type=whole, default=10_000, metavar="N", help="number of steps to simulate in each pixel" + DEFAULT)
    option("--nesterov", action="store_true", help="draw the map for Nesterov momentum")
    option("--momentum", type=number, metavar="MOMENTUM", help="momentum of a point of your own on the map (default: 0)")
    option("--weight-decay", type=number, metavar="DECAY", help="weight decay of your point (default: 0)")
    option("--lr", type=number, metavar="RATE", help="learning rate of your point (default: 0.1)")
    option("--json", metavar="FILE", help="write the numbers to this file")
    option("--quiet", action="store_true", help="print only errors; the exit status is 1 if formula and simulation differ")


def run(arguments: argparse.Namespace) -> int:
    from ..checks import check_count
    from ..files import write_through
    from ..lab import map as atlas
    from ..lab.recurrence import Settings

    check_files(arguments, "json", "figure")
    if check_count(arguments.steps, "--steps") > 10**6:
        raise ValueError(f"--steps is {arguments.steps}, expected at most 1,000,000, which take about a minute")
    recipes = [*atlas.RECIPES]
    own = {name: value for name in ("lr", "momentum", "weight_decay") if (value := getattr(arguments, name)) is not None}
    if own:
        recipes.append(atlas.Recipe(atlas.YOURS, Settings(**{"lr": 0.1, **own}, nesterov=arguments.nesterov)))
    found = atlas.compute(arguments.steps, nesterov=arguments.nesterov)
    atlas.draw(found, recipes, arguments.figure)
    if arguments.json:
        numbers = {**found.to_dict(), "recipes": [recipe.to_dict() for recipe in recipes]}
        write_through(arguments.json, lambda file: file.write(json.dumps(numbers).encode() + b"\n"))
    if not arguments.quiet:
        atlas.print_report(found, recipes)
        print(f"- The picture is {arguments.figure}.")
    return 1 if found.different.any() else 0


COMMANDS = [Command("map", "draw at which step a dead unit returns, by momentum and rate times decay", options, run)]
