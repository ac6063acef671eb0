"""Each spelling of PyTorch in docs/coming-from.md runs in PyTorch, and gives the numbers of the spelling here."""
from __future__ import annotations

import pytest
import torch
from spellings import differ, names_here, result, spellings
from torch.utils.data import DataLoader, TensorDataset


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("theirs, ours", spellings("PyTorch"))
def test_a_spelling_of_pytorch_gives_the_numbers_of_ours(theirs, ours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = names_here()
    there = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "optim": torch.optim, "DataLoader": DataLoader,
             "TensorDataset": TensorDataset, "a": here["a"], "f": here["f"], "labels": torch.tensor(here["labels"]),
             "x": torch.tensor(here["a"], requires_grad=True)}
    there["model"] = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)).double()
    there["opt"] = torch.optim.SGD(there["model"].parameters(), lr=0.1)
    threads = torch.get_num_threads()
    found = result(theirs, there)
    torch.set_num_threads(threads)
    assert not differ(found, result(ours, here))
