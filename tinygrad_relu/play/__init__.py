"""The page to play with: a network that trains, whose units you kill and bring back. `Playground` is its state."""
from .playground import Claim as Claim, Playground as Playground
