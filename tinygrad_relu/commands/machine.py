"""``tinygrad-relu warmup | cache | doctor``: the compiled kernels, and the speed of this machine."""
from __future__ import annotations

import argparse

from .options import Command, later, whole


def _warmup_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dtype", choices=("float32", "float64", "both"), default="both", help="which kernels (default: both)")
    parser.add_argument("--jobs", type=whole, metavar="N", help="compiling processes (default: one per core, at most 4)")


COMMANDS = [
    Command("warmup", "compile all kernels now, so that later runs start at once", _warmup_options, later("warmup.main")),
    Command("cache", "show and check the compiled kernels, or clear them", lambda parser: parser.add_argument(
        "--clear", action="store_true", help="remove all compiled kernels, those of other versions too"),
        later("warmup.cache_main")),
    Command("doctor", "show which kernels, threads and caches are in use, and how fast", lambda parser: parser.add_argument(
        "--json", metavar="FILE", help="write the report to this file too"), later("doctor.main"))]
