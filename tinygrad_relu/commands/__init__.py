"""The commands of ``tinygrad-relu``: a small file for each, or for a few of one kind. `cli.py` runs them.

No file here imports anything heavy at its top: ``--help`` reads all of them.
"""
from __future__ import annotations

from . import experiment, instruments, machine, map, play, revive, sweep, train
from .options import Command as Command

COMMANDS: tuple[Command, ...] = (       # in the order of ``--help``
    *revive.COMMANDS, *map.COMMANDS, *experiment.COMMANDS, *play.COMMANDS, *sweep.COMMANDS, *train.COMMANDS,
    *instruments.COMMANDS, *machine.COMMANDS)
