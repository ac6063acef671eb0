"""`tg.capture`: a step is recorded, proved, and replayed.

- recording.py: the launches of one call, and the proof that they are those of every call
- fusion.py: neighbouring launches that one kernel can do
- surroundings.py: what a step finds outside, and what is noticed if it changes
- replay.py: the launches as they are replayed, in memory of their own and as native code
- program.py: the function that users call
"""
from .program import Program as Program, capture as capture
