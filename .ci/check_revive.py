"""Check what ``tinygrad-relu revive`` has written: the figures that the README promises."""
import json
import sys
from pathlib import Path

result = json.loads(Path(sys.argv[1]).read_text())
found = {treatment["name"]: treatment for treatment in result["treatments"]}

assert result["data"] == "digits"
assert result["sick"]["largest_gradient"] == 0.0 and result["sick"]["accuracy"] < 0.11, result["sick"]
assert result["sick"]["dead"][1] == 64, result["sick"]["dead"]
assert len(found) == 13
for name, step in (("momentum-l2-inside", 48), ("heavy-l2", 472), ("nesterov-l2", 474)):
    assert found[name]["predicted_step"] == found[name]["observed_step"] == step, found[name]
for name in ("sgd", "sgd-l2", "momentum", "momentum-l2-below", "heavy-decoupled", "adam"):
    assert found[name]["predicted_step"] is found[name]["observed_step"] is None, found[name]
    assert found[name]["accuracy"] == result["sick"]["accuracy"], found[name]
assert found["heavy-l2"]["accuracy"] > 0.99, found["heavy-l2"]
for treatment in found.values():
    for unit in treatment["predictions"]:
        assert unit["step"] == unit["observed"], (treatment["name"], unit)
assert Path(sys.argv[2]).read_bytes().startswith(b"\x89PNG")
print("revive: every prediction holds; momentum 0.99 with L2 returns at step 472 and ends at accuracy",
      round(found["heavy-l2"]["accuracy"], 3))
