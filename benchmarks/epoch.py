"""Epochs of Fashion-MNIST by `tg.fit`, and by the fastest ordinary loop of PyTorch: seconds, and accuracy on the test images.

usage: python benchmarks/epoch.py FOLDER [--epochs 10] [--rounds 3] [--python PATH]

FOLDER holds the files of Fashion-MNIST (Debian's package dataset-fashion-mnist). Both train 784-256-128-10 with ReLU on batches
of 64 by SGD with momentum, in float32, from weights of He's distribution. PyTorch's tensors are in memory, and a batch is an
index into them, which is several times as fast as a DataLoader. Each run is a process of its own with a seed of its own, and they
take turns. The time of an epoch is that of training alone: the median over all epochs but the first of each run.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

WIDTHS, BATCH, LR, MOMENTUM = [784, 256, 128, 10], 64, 0.01, 0.9
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

Numbers = list[tuple[float, float]]     # seconds and accuracy by epoch


def ours(train: Any, test: Any, epochs: int, seed: int) -> Numbers:
    import tinygrad_relu as tg
    from tinygrad_relu import functional as F
    from tinygrad_relu import nn, optim

    model = nn.MLP(WIDTHS, rng=seed)
    opt = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    history = tg.fit(model, opt, F.cross_entropy, train, epochs=epochs, batch_size=BATCH, rng=seed, validation=test, quiet=True)
    return list(zip(history["seconds"], history["valid_accuracy"]))


def torchs(train: Any, test: Any, epochs: int, seed: int) -> Numbers:
    import torch

    torch.manual_seed(seed)
    layers: list[Any] = []
    for n, m in zip(WIDTHS, WIDTHS[1:]):
        layers += [torch.nn.Linear(n, m), torch.nn.ReLU()]
        torch.nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
        torch.nn.init.zeros_(layers[-2].bias)
    model = torch.nn.Sequential(*layers[:-1])
    opt, loss = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM), torch.nn.CrossEntropyLoss()
    x, y = torch.from_numpy(train.x), torch.from_numpy(train.y)
    found = []
    for _ in range(epochs):
        start, order = time.perf_counter(), torch.randperm(len(x))
        for first in range(0, len(x), BATCH):
            rows = order[first:first + BATCH]
            opt.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            opt.step()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            accuracy = (model(torch.from_numpy(test.x)).argmax(1).numpy() == test.y).mean()
        found.append((seconds, float(accuracy)))
    return found


PEERS = {"tinygrad_relu": ours, "torch": torchs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has both (default: this one)")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not Path(arguments.folder).is_dir():
        parser.error(f"{arguments.folder} is not a folder; expected the one that holds train-images-idx3-ubyte.gz and the rest")
    if arguments.epochs < 2 or arguments.rounds < 1:
        parser.error("expected --epochs of at least 2, as the first one is not timed, and --rounds of at least 1")
    if arguments.work:
        from tinygrad_relu import data

        train, test = (data.fashion_mnist(arguments.folder, split) for split in ("train", "test"))
        for numbers in PEERS[arguments.work](train, test, arguments.epochs, arguments.seed):
            print(*numbers)
        return
    environment = {name: value for name, value in os.environ.items() if name not in FORCED}
    found: dict[str, list[Numbers]] = {peer: [] for peer in PEERS}
    for seed in range(arguments.rounds):
        for peer, runs in found.items():
            command = [arguments.python, str(Path(__file__).resolve()), arguments.folder, "--work", peer]
            done = subprocess.run([*command, "--epochs", str(arguments.epochs), "--seed", str(seed)], env=environment, text=True,
                                  stdout=subprocess.PIPE, check=True)
            runs.append([(float(a), float(b)) for a, b in map(str.split, done.stdout.splitlines())])
    times = {peer: sorted(seconds for run in runs for seconds, _ in run[1:]) for peer, runs in found.items()}
    for peer, runs in found.items():
        accuracies = " ".join(f"{run[-1][1]:.4f}" for run in runs)
        print(f"{peer:14s} {median(times[peer]):.3f} s an epoch ({times[peer][0]:.3f} to {times[peer][-1]:.3f}); accuracy on the "
              f"test images after {arguments.epochs} epochs: {accuracies}")
    print(f"tinygrad_relu is {median(times['torch']) / median(times['tinygrad_relu']):.2f} times as fast")
    if any(spread[-1] > 2 * spread[0] for spread in times.values()):
        print("The slowest epoch took more than twice as long as the fastest: the machine was busy, and this ratio means little.")


if __name__ == "__main__":
    main()
