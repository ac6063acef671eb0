"""Every experiment runs in its fast form, and each of its findings holds."""
from __future__ import annotations

import json

import pytest

from tinygrad_relu.lab import experiments

# The claims of the literature: dying units (A), variants of ReLU (B), depth (C), learning with a zero derivative (D); newer ones (N).
KEYS = {f"{chapter}{number}" for chapter, numbers in (
    ("A", {*range(1, 19), 20, 21, 23, 24}), ("B", range(1, 16)), ("C", {*range(1, 14)} - {5}), ("D", {*range(1, 19)} - {7, 17}),
    ("N", range(1, 11)))
    for number in numbers}


@pytest.mark.parametrize("name", experiments.names())
def test_every_finding_holds(name):
    result = experiments.find(name)(seed=0, fast=True)
    assert result.findings and all(finding.holds or finding.timed for finding in result.findings), str(result)
    assert json.loads(result.to_json())["name"] == name
    assert result.figure().axes


def test_every_claim_is_stated_once():
    stated = [claim.key for name in experiments.names() for claim in experiments.find(name).claims]
    assert len(stated) == len(set(stated))
    assert set(stated) == KEYS
    assert all(experiments.find(name).claims for name in experiments.names())
