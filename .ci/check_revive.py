"""Check what ``tinygrad-relu revive`` has written: the figures that the README promises."""
import json
import sys
from pathlib import Path

result = json.loads(Path(sys.argv[1]).read_text())
found = {treatment["name"]: treatment for treatment in result["treatments"]}

assert result["data"] == "digits" and (result["samples"], result["held_out_samples"]) == (898, 899)
assert result["sick"]["largest_gradient"] == 0.0 and result["sick"]["accuracy"] < 0.11, result["sick"]
assert result["sick"]["dead"][1] == 64, result["sick"]["dead"]
assert len(found) == 17
for name, step in (("momentum-l2-inside", 48), ("heavy-l2", 472), ("nesterov-l2", 474)):
    assert found[name]["predicted_step"] == found[name]["observed_step"] == step, found[name]["verdict"]
for name in ("sgd", "sgd-l2", "momentum", "momentum-l2-below", "heavy-decoupled", "adam"):
    assert found[name]["predicted_step"] is found[name]["observed_step"] is None, found[name]["verdict"]
    assert found[name]["accuracy"] == result["sick"]["accuracy"], name
assert found["heavy-l2"]["accuracy"] > 0.99 and found["heavy-l2"]["held_out"] > 0.9
assert result["wrong"] == 0 and result["proved"] == result["predictions"] > 1000
for treatment in found.values():
    assert treatment["opens_predicted"] == treatment["opens_observed"], treatment["name"]
    for unit in treatment["predictions"]:
        assert unit["step"] == unit["observed"], (treatment["name"], unit)
returned = [unit["observed"] for unit in found["coast"]["predictions"] if unit["observed"] is not None]
assert len(returned) > 30 and len(set(returned)) > 10 and found["coast"]["accuracy"] > 0.99
assert not any(unit["observed"] for name in ("coast-emptied", "own-steps") for unit in found[name]["predictions"])
assert Path(sys.argv[2]).read_bytes().startswith(b"\x89PNG")
heavy = found["heavy-l2"]
print(f"revive: {result['predictions']} predictions, all proved, none wrong; momentum 0.99 with L2 returns at step 472, "
      f"accuracy {heavy['accuracy']:.3f}, held out {heavy['held_out']:.3f}; momentum alone brings back {len(returned)} units")
