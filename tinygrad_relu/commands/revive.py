"""``tinygrad-relu revive``: the main job."""
from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from .options import DEFAULT, Command, add_data, check_files, check_held_out, load_data, number, one_of, standardises, whole

OPTIONS = ("weight-decay", "lr", "momentum")
SAMPLES = 2000      # of images: full-batch training on all of them would take an hour


def options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    add_data(parser, samples=f"{SAMPLES} of fashion-mnist or mnist, otherwise all")
    option("--seed", type=whole, default=0, metavar="N", help="random seed of the weights and of synthetic data" + DEFAULT)
    option("--widths", type=whole, nargs="+", default=[64, 64], metavar="N", help="widths of the hidden layers (default: 64 64)")
    option("--activation", type=one_of("nn.activations.NAMES", "activation"), default="relu", metavar="NAME",
           help="activation of the hidden layers" + DEFAULT)
    option("--kill-lr", type=number, default=3.0, metavar="RATE", help="learning rate that makes the network sick" + DEFAULT)
    option("--kill-steps", type=whole, default=250, metavar="N", help="number of steps at that rate" + DEFAULT)
    option("--lr", type=number, default=0.1, metavar="RATE", help="learning rate of the treatments" + DEFAULT)
    option("--steps", type=whole, default=1000, metavar="N", help="number of steps of each treatment" + DEFAULT)
    option("--held-out", type=number, default=0.5, metavar="SHARE",
           help="share of the samples that is not trained on, for a second accuracy; 0 for none" + DEFAULT)
    option("--seeds", type=whole, default=1, metavar="N", help="repeat everything with N seeds, from --seed on" + DEFAULT)
    option("--treatments", type=one_of("lab.treatments.TREATMENTS", "treatment"), nargs="+", metavar="NAME",
           help="some of sgd, sgd-l2, momentum, momentum-l2-below, momentum-l2-inside, heavy-l2, heavy-decoupled, nesterov-l2, "
           "bias-decay, weight-decay, adam, adam-l2, leaky, mirror, coast, coast-emptied, own-steps (default: all)")
    option("--optimizer", type=one_of("lab.treatments.RULES", "optimizer"), metavar="NAME",
           help="add a treatment of your own, with one of sgd, nesterov, sgdw, adam, adamw (default: sgd)")
    option("--momentum", type=number, metavar="MOMENTUM", help="momentum of your treatment, from 0 to below 1")
    option("--weight-decay", type=number, metavar="DECAY", help="weight decay of your treatment")
    option("--schedule", type=one_of("lab.treatments.SCHEDULES", "schedule"), metavar="NAME",
           help="schedule of the learning rate of your treatment: one of cosine, linear, step, warmup")
    option("--at", type=whole, metavar="STEP", help="instead of the treatments: find the values of one option for which the "
           "first unit returns at this step, train at both ends of the interval and just outside, and compare (the other options "
           "are those of momentum .99 + L2, of the one treatment that is named, or yours)")
    option("--option", type=one_of("commands.revive.OPTIONS", "option"), metavar="NAME",
           help="for --at: one of weight-decay, lr, momentum (default: weight-decay)")
    option("--json", metavar="FILE", help="write the results to this file")
    option("--figure", metavar="FILE", help="draw the life lines of all units (PNG, SVG or PDF)")
    option("--quiet", action="store_true", help="print only errors; the exit status is 1 if a prediction fails")


def run(arguments: argparse.Namespace) -> int:
    from ..checks import check_count, check_number
    from ..files import write_json
    from ..lab import figure, report
    from ..lab.revive import fill, main_job
    from ..text import progress

    check_number(arguments.kill_lr, "--kill-lr")
    check_number(arguments.lr, "--lr")
    check_count(arguments.kill_steps, "--kill-steps")
    check_count(arguments.steps, "--steps")
    check_count(arguments.seed, "--seed", least=0)
    check_count(arguments.seeds, "--seeds")
    check_held_out(arguments)
    for width in arguments.widths:
        check_count(width, "--widths")
    check_files(arguments, "json", "figure")
    if arguments.option and arguments.at is None:
        raise ValueError("--option is an option of --at, expected both")
    option: Any = (arguments.option or "weight-decay").replace("-", "_")
    treatments = _treatments(arguments)
    at = 0 if arguments.at is None else check_count(arguments.at, "--at")
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    dataset, runs = load_data(arguments, images=SAMPLES), []
    trained = 4 * (at + 1) if at else sum(min(t.steps or arguments.steps, arguments.steps) for t in treatments)
    steps = len(seeds) * (arguments.kill_steps + trained)
    _check_memory(dataset, arguments.widths, steps)
    with progress(steps, "compiling", quiet=arguments.quiet) as tick:
        options = {"hidden": arguments.widths, "held_out": arguments.held_out, "activation": arguments.activation,
                   "kill_lr": arguments.kill_lr, "kill_steps": arguments.kill_steps, "lr": arguments.lr,
                   "standardise": standardises(arguments), "tick": tick}
        for seed in seeds:
            found = dataset if seed == arguments.seed else load_data(arguments, seed, SAMPLES)
            try:
                runs.append(fill(found, treatments[-1], at, option, seed=seed, **options) if at else
                            main_job(found, treatments, steps=arguments.steps, seed=seed, **options))
            except KeyboardInterrupt:
                if not runs:
                    raise
            expected = [len(treatments) if run.prescription is None else len(run.prescription.ends) for run in runs]
            if len(runs[-1].outcomes) < expected[-1] or len(runs) <= seed - arguments.seed:
                break                                   # interrupted
    if not arguments.quiet:
        report.print_report(runs, kill_lr=arguments.kill_lr)
    if arguments.json:
        write_json(arguments.json, report.to_dict(runs))
    if arguments.figure and runs[0].of("sick", "shocked", "own steps"):
        figure.draw(runs, arguments.figure, kill_lr=arguments.kill_lr)
    done, asked = sum(len(run.outcomes) for run in runs), len(seeds) * expected[0]
    if done < asked:
        print(f"tinygrad-relu revive: interrupted; {done} of {asked} treatments had finished", file=sys.stderr)
        return 130
    return 1 if any(run.failed for run in runs) else 0


def _treatments(arguments: argparse.Namespace) -> list[Any]:
    """The treatments that were chosen, and that of the user's own settings."""
    from ..lab.treatments import TREATMENTS, yours

    chosen = [t for t in TREATMENTS if (t.key in arguments.treatments if arguments.treatments else t.suits(arguments.activation))]
    own = {option: value for option in ("optimizer", "momentum", "weight_decay", "schedule")
           if (value := getattr(arguments, option)) is not None}
    if arguments.at is not None and arguments.schedule:
        raise ValueError("--at needs a constant rate, expected no --schedule beside it")
    if arguments.at is None:
        return [*chosen, *([yours(**own)] if own else [])]
    if arguments.treatments and (own or len(chosen) > 1):
        raise ValueError("--at changes one treatment, expected one name after --treatments, or settings of your own")
    return [yours(**own)] if own else chosen if arguments.treatments else [t for t in TREATMENTS if t.key == "heavy-l2"]


def _check_memory(dataset: Any, widths: list[int], steps: int) -> None:
    """Raise an error if the memory will not suffice: a system without free memory may kill this process without a message."""
    layers = [dataset.features, *widths, dataset.classes or 1]
    needed = 32 * (sum(n * m for n, m in zip(layers, layers[1:])) + len(dataset) * sum(widths))     # four float64 arrays of each
    needed += steps * (sum(widths) + 100)       # a byte for the state of each unit, and two curves
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > present:
        raise ValueError(f"--widths {' '.join(map(str, widths))}, over {steps} steps, needs about {needed / 1e9:.2g} GB of "
                         f"memory, and this machine has {present / 1e9:.2g}")


COMMANDS = [Command("revive", "bring a dead network back to life on real data, at a predicted step", options, run)]
