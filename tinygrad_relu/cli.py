"""The command line, ``tinygrad-relu``: it parses the words, runs a command of `commands`, and turns errors into one sentence.

This file imports nothing heavy. The package imports it first: `begin` answers --help, --version, and Ctrl-C during the imports.
"""
from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:       # imported where they are used: an import of the package does not need them
    import argparse

    from .commands import Command

VERSION = "0.1.0"


def begin() -> None:
    """If this process runs the command: answer --help and --version, and let Ctrl-C stop the imports that follow."""
    script, *words = sys.argv or [""]
    module = script == "-m" and sys.orig_argv[-len(sys.argv)].endswith("tinygrad_relu")
    if module or Path(script).stem == "tinygrad-relu":
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:       # and not ignored, as in the background
            signal.signal(signal.SIGINT, _end)
        if not {"-h", "--help", "--version"}.isdisjoint(words):
            _parse(words)


def _end(*interrupt: object) -> NoReturn:
    print("tinygrad-relu: interrupted", file=sys.stderr)
    sys.exit(130)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Exit status: 0 success, 1 a prediction failed, 2 bad input, 130 interrupted."""
    command, parsed = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        if signal.getsignal(signal.SIGINT) is _end:
            signal.signal(signal.SIGINT, signal.default_int_handler)        # from here on Ctrl-C can be caught
        status = command.run(parsed)
        print(end="", flush=True)
        return status
    except BrokenPipeError:         # the reader of the output, such as `head`, has ended; Python would print an error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, IndexError, OSError, ImportError, MemoryError, OverflowError) as error:
        said = str(error).removeprefix(f"{command.name.replace('-', '_')}: ")       # the function of the same name
        print(f"tinygrad-relu {command.name}: {said or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"tinygrad-relu {command.name}: interrupted", file=sys.stderr, flush=True)
        from multiprocessing import active_children

        if arguments is None and not active_children():     # the command does not wait for threads that compile kernels
            with suppress(OSError):     # nobody reads the output
                print(end="", flush=True)
            atexit._run_exitfuncs()
            os._exit(130)
        return 130


def _parse(words: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    """The command and its arguments. An unknown command or option is an error that names the nearest one."""
    from .commands.options import check_name

    parser, commands = _parsers()
    try:
        if words and not words[0].startswith("-"):
            check_name(words[0], commands, "the command")
        elif words and not any(known.startswith(words[0]) for known in ("-h", "--help", "--version")):
            check_name(words[0], ["--help", "--version"], "the option before the command")
        parsed, unknown = parser.parse_known_args(words)
        if unknown and not unknown[0].startswith("-"):
            raise ValueError(f"got {unknown[0]!r}, expected an option")
        if unknown:
            options = ["--" + name.replace("_", "-") for name in vars(parsed) if name != "command" and name.islower()]
            check_name(unknown[0].partition("=")[0], options, f"an option of {parsed.command}")
    except ValueError as error:
        parser.error(str(error))
    parsed.words = list(words[1:])
    return commands[parsed.command], parsed


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, Command]]:
    """The parser of the whole command line, and the commands by name."""
    import argparse

    from .commands import COMMANDS

    class Parser(argparse.ArgumentParser):
        """Prints an error as one sentence, without the usage."""

        def error(self, message: str) -> NoReturn:
            self.exit(2, f"{self.prog}: {message}\n")

    parser = Parser(prog="tinygrad-relu", description="An autodiff engine on Numba kernels, and a laboratory where dead ReLU "
                     "units come back to life at a predicted step.")
    parser.add_argument("--version", action="version", version=f"tinygrad-relu {VERSION}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.options(subparsers.add_parser(command.name, help=command.help))
    return parser, {command.name: command for command in COMMANDS}
