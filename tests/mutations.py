"""Which mistakes do the tests catch? Some hundred mistakes, made one at a time in a copy of the checkout.

    python tests/mutations.py               all of them
    python tests/mutations.py 3 7 40-45     these
    python tests/mutations.py --check       only check that each old text is in its file exactly once

For each mistake, the test files that are likely to catch it run first, and then the whole default suite. The last lines name the
mistakes that no test has caught. Kernels come from the cache of this checkout (`tinygrad-relu warmup` first), unless the mistake
is in the sources of kernels.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HOUSE = Path(__file__).parents[1]


class Mutation(NamedTuple):
    file: str       # below tinygrad_relu/
    old: str
    new: str
    tests: str      # files in tests/ that are likely to catch it


MUTATIONS = [
    # the backward pass
    Mutation("autodiff/tape.py", "if x.order > order:\n                    outdated.setdefault(node, x)",
             "if False:\n                    outdated.setdefault(node, x)", "test_changed_leaves"),
    Mutation("autodiff/tape.py", "nodes.sort(key=_by_order)", "nodes.reverse()", "test_tape"),
    Mutation("autodiff/tape.py", "add |= 1 << len(into)\n                    into.append(more)",
             "add |= 0\n                    into.append(more)", "test_training_threads test_tape test_ops"),
    Mutation("autodiff/tape.py", "if not retain_graph:", "if retain_graph:", "test_tape"),
    Mutation("autodiff/broadcast.py", "extra = g.ndim - len(shape)", "extra = 0", "test_ops"),
    Mutation("autodiff/broadcast.py", "if n == 1 and g.shape[i + extra] != 1", "if n != 1 and g.shape[i + extra] != 1", "test_ops"),
    Mutation("autodiff/hooks.py", "if prepend:", "if not prepend:", "test_hooks"),
    Mutation("derivatives.py", "atol: float = 1e-7", "atol: float = 1e-1", "test_tape test_higher test_graph"),
    Mutation("capture/surroundings.py", "names |= {name for name in there & self._called", "names |= {name for name in there & set()",
             "test_capture_outside"),
    Mutation("nn/module.py", "named = name in vars(self) and not any(", "named = not any(", "test_capture_outside"),
    Mutation("capture/surroundings.py", "repr(x) == repr(y)", "x == y", "test_capture_outside"),
    Mutation("capture/surroundings.py", "self.version == guard.version and ", "", "test_capture_changes"),
    # operations
    Mutation("ops/linalg.py", "return product(g, b, transpose_b=not transpose_b)", "return product(g, b, transpose_b=transpose_b)", "test_ops"),
    Mutation("ops/linalg.py", "return product(a, g, transpose_a=not transpose_a)", "return product(g, a, transpose_a=True)", "test_ops"),
    Mutation("ops/elementary.py", "lambda g, y, a: neg(mul(g, sin(a)))", "lambda g, y, a: mul(g, sin(a))", "test_ops"),
    Mutation("ops/elementary.py", "lambda g, y, a: div(g, mul(y, 2.0))", "lambda g, y, a: div(g, y)", "test_ops"),
    Mutation("ops/reductions.py", "candidates.argmax(axis=-1)[..., None]",
             "(candidates.shape[-1] - 1 - candidates[:, ::-1].argmax(axis=-1))[..., None]", "test_array_ops test_ops"),
    Mutation("ops/indexing.py", "    out[key] += part", "    out[key] = part", "test_structure test_ops"),
    Mutation("ops/shape.py", "edges = [i * (length // parts) for i in range(parts + 1)]",
             "edges = [i * (length // parts + 1) for i in range(parts + 1)]", "test_ops"),
    Mutation("ops/shape.py", "tuple(int(i) for i in np.argsort([a % len(axes) for a in axes]))", "tuple(int(i) for i in axes)", "test_ops"),
    Mutation("ops/normalization.py", "lambda g, y, x: mul(y, sub(g, _last_sum(mul(g, y))))", "lambda g, y, x: mul(y, sub(g, _last_sum(g)))", "test_ops"),
    Mutation("ops/normalization.py", "centred = sub(x, mean(x, axes, keepdims=True))", "centred = x", "test_ops"),
    Mutation("ops/loss.py", "return 1.0 / count if reduction == \"mean\" else 1.0", "return 1.0 / (count + 1) if reduction == \"mean\" else 1.0", "test_ops"),
    Mutation("ops/einsum.py", "letters = stack + rows + columns\n", "letters = stack + columns + rows\n", "test_ops"),
    Mutation("ops/recurrent.py", "add(mul(_sigmoid(neg(update)), new), mul(_sigmoid(update), h))",
             "add(mul(_sigmoid(update), new), mul(_sigmoid(neg(update)), h))", "test_recurrent"),
    Mutation("ops/elementwise.py", "undefined & np.isnan(x)", "undefined", "test_array_ops test_ops"),
    Mutation("derivatives.py", "return blocks[0][0] if isinstance(inputs, Node) else blocks", "return blocks[0] if isinstance(inputs, Node) else blocks", "test_higher"),
    Mutation("interop.py", "if self.requires_grad:", "if False:", "test_interop"),
    # formulas and loops, which are compiled
    Mutation("kernels/formulas/piecewise.py", "on_the_kink = T(0) if at_zero == 0.0 else g * T(at_zero)", "on_the_kink = g * T(at_zero)", "test_piecewise test_activations"),
    Mutation("kernels/formulas/piecewise.py", "T(0) if x <= T(min_val) else T(0) if x >= T(max_val) else g", "T(0) if x < T(min_val) else T(0) if x >= T(max_val) else g", "test_piecewise"),
    Mutation("kernels/formulas/piecewise.py", "return g * T(negative_slope) if x <= T(0) else g if x > T(0) else x", "return g * negative_slope if x <= T(0) else g if x > T(0) else x", "test_activations"),
    Mutation("kernels/formulas/smooth.py", "rest = far if e < pick(x, *TINY) else log1p_of_unit(e) * inverse", "rest = log1p_of_unit(e) * inverse", "test_smooth"),
    Mutation("kernels/formulas/smooth.py", "left, right = p * top + p * top_low, T(1) + e * (T(1) + a)", "left, right = p * top, T(1) + e * (T(1) + a)", "test_smooth test_accuracy"),
    Mutation("kernels/loops/norm.py", "part = yr[c] * (gr[c] - dot)", "part = yr[c] * gr[c] - dot", "test_ops"),
    Mutation("kernels/loops/loss.py", "logs[r - first] - (x[r, labels[r]] - each[r])", "logs[r - first] - x[r, labels[r]]", "test_ops test_losses"),
    Mutation("kernels/loops/update.py", "flushed(step if first else mu * v[i] + times(gain, step))", "flushed(mu * v[i] + times(gain, step))", "test_optim"),
    Mutation("kernels/loops/update.py", "lr * (step + mu * inertia if nesterov else inertia)", "lr * (step + inertia if nesterov else inertia)", "test_optim"),
    Mutation("kernels/loops/update.py", "(math.sqrt(v[i]) + eps)", "math.sqrt(v[i] + eps)", "test_optim"),
    Mutation("kernels/loops/reduce.py", "for c in range(x.size - 1, -1, -1):", "for c in range(x.size - 1, 0, -1):", "test_ops test_array_ops"),
    Mutation("kernels/loops/norm.py", "unbiased = size / (size - 1.0)", "unbiased = 1.0", "test_normalization"),
    Mutation("kernels/loops/recurrent.py", "gc[k] = down * f\n", "gc[k] = down * i\n", "test_recurrent"),
    Mutation("kernels/loops/affine.py", "gemm_block(True, False, g, x, 1.0 if add & 2 else 0.0, gw", "gemm_block(True, False, g, x, 0.0, gw", "test_ops test_tape"),
    Mutation("kernels/machine/slabs.py", "1.0 if start else beta", "beta", "test_threads"),
    Mutation("kernels/machine/panels.py", "return top, min(top + rows, m), left", "return top, min(top + rows - 1, m), left", "test_threads"),
    Mutation("kernels/machine/panels.py", "1.0 if first else beta", "beta", "test_threads"),
    # layers
    Mutation("nn/init.py", "return max(1, shape[-1]), max(1, shape[0])", "return max(1, shape[0]), max(1, shape[-1])", "test_nn"),
    Mutation("nn/layers.py", "values = array, weight.array, bias.array ", "values = array, weight.array, 0 * bias.array ", "test_nn"),
    Mutation("nn/layers.py", "self.training or running is None", "True", "test_normalization"),
    Mutation("nn/utils.py", "factor = max_norm / (norm + 1e-6)", "factor = max_norm / norm", "test_clip"),
    Mutation("nn/mlp.py", "if residual and n == m", "if residual", "test_nn test_mlp"),
    Mutation("nn/recurrent.py", "1 / sqrt(self.hidden_size)", "1 / sqrt(self.input_size)", "test_recurrent"),
    Mutation("parameters.py", "if values is buffer and start == stop:", "if values is buffer:", "test_optim test_clip"),
    Mutation("functional/class_loss.py", "asked[~kept] = 0", "pass", "test_losses test_ops"),
    # optimizers, files, data
    Mutation("optim/rules.py", "t, state = segment.steps + 1, segment.state\n", "t, state = segment.steps or 1, segment.state\n", "test_optim"),
    Mutation("optim/rules.py", "old = mu * mu if options[\"nesterov\"] else mu", "old = mu", "test_optim"),
    Mutation("optim/optimizer.py", "\"params\": slopes, \"weight_decay\": 0.0}", "\"params\": slopes}", "test_optim test_activations"),
    Mutation("optim/lr_scheduler.py", "return self.gamma ** (step // self.step_size)", "return self.gamma ** ((step + 1) // self.step_size)", "test_schedules"),
    Mutation("optim/state.py", "part = slice(start, start + piece.data.size)\n        start = part.stop", "part = slice(start, start + piece.data.size)", "test_copies test_state"),
    Mutation("checkpoint.py", "if complaints:", "if len(complaints) > 1:", "test_checkpoint"),
    Mutation("files.py", "if dtype == \"BF16\":", "if dtype == \"F16\":", "test_checkpoint"),
    Mutation("data/dataset.py", "self._stop = n - n % size if drop_last else n", "self._stop = n - n % size", "test_dataset test_data"),
    Mutation("data/from_files.py", "if not 1 <= dimensions <= MOST_DIMENSIONS:", "if not 1 <= dimensions:", "test_idx test_fuzz"),
    # the laboratory
    Mutation("lab/layers.py", "return self in (State.DEAD, State.DEAD_HIGH, State.NEVER_WINS)", "return self in (State.DEAD, State.NEVER_WINS)", "test_census"),
    Mutation("lab/layers.py", "aligned = all(len(part) == samples for part in z)", "aligned = False", "test_any_model"),
    Mutation("lab/passes.py", "cells[:-1] if node", "cells[1:] if node", "test_any_model"),
    Mutation("lab/passes.py", "rows = slice(k * size, (k + 1) * size)", "rows = slice(0, size)", "test_any_model"),
    Mutation("lab/recurrence.py", "return self.lr * self.weight_decay", "return self.lr * self.weight_decay * (1 + 1e-9)", "test_closed_form"),
    Mutation("lab/outcomes.py", "and self.between[1] <= self.until", "and self.between[1] < 0", "test_cli"),
    Mutation("lab/revive.py", "if treatment.keeps:", "if False:", "test_interventions"),
    Mutation("lab/sites.py", "None if rng is None else check_rng(rng, who))", "rng)", "test_interventions"),
    Mutation("lab/interventions.py", "scale = 1 / np.where(deviation > 0, deviation, 1)", "scale = 1 / np.where(deviation > 0, deviation**2, 1)", "test_interventions"),
    Mutation("lab/continual.py", "mature = among & (self.age > maturity)", "mature = among & (self.age >= maturity)", "test_interventions"),
    Mutation("lab/interventions.py", "new.bias.array[:] = np.sqrt(new.running_var.data + new.eps), mean", "new.bias.array[:] = 1, mean", "test_interventions"),
    Mutation("lab/autopsy.py", 'for name in ("gradient", "inertia", "decay")', 'for name in ("gradient", "decay", "inertia")', "test_autopsy"),
    Mutation("lab/autopsy.py", "z[at, rivals])", "0 * z[at, rivals])", "test_autopsy"),
    Mutation("lab/lethal.py", "begins[i] = np.minimum(", "begins[i] = np.maximum(", "test_autopsy"),
    Mutation("lab/gradient_profile.py", "values / values.sum()", "values**2 / (values**2).sum()", "test_gradient_profile"),
    Mutation("inside/reasons.py", "            reason = DOWNSTREAM[reason]", "            pass", "test_why_zero"),
    Mutation("inside/reasons.py", "reason[cancel[x] != 0] = Reason.CANCELLED", "pass", "test_why_zero"),
    Mutation("lab/recorder.py", 'side="right") - 1]', 'side="left") - 1]', "test_recorder"),
    Mutation("lab/recorder.py", "Look(layer, z.array[:0], z, out, 1)", "Look(layer, z.array[:0], z, z, 1)", "test_recorder"),
    Mutation("lab/survival.py", 'start, step, event != "diverged")', "start, step, True)", "test_survival"),
    Mutation("lab/birth.py", "return 1 - a1 ** (depth - 2) - c *", "return 1 - a1 ** (depth - 1) - c *", "test_birth"),
    Mutation("lab/advise.py", "if lr > case.rates.safe_rate:", "if lr < case.rates.safe_rate:", "test_advise"),
    Mutation("optim/optimizer.py", "if self.counts_entries and segment.state and", "if False and segment.state and", "test_optim"),
    Mutation("optim/state.py", "if array.shape == like.shape != ():", "if False:", "test_optim"),
    Mutation("lab/laws.py", "return np.where(w <= turn, top, bound)", "return np.full(w.shape, top)", "test_laws"),
    Mutation("lab/prescription.py", "return lives is (step is not None)", "return True", "test_prescription"),
    Mutation("lab/prognosis.py", "(states == State.DEAD) | (states == State.DEAD_HIGH)", "(states == State.DEAD)", "test_prognosis"),
    Mutation("lab/prognosis.py", "if p.requires_grad and not (len(nodes) == 1 and", "if p.requires_grad and not (len(nodes) >= 1 and", "test_proved"),
    Mutation("lab/rehearsal.py", "    radius = SLACK * (product(", "    radius = 0 * (product(", "test_proved"),
    Mutation("lab/rehearsal.py", "fate.b = t if surely_alive[i] else None", "fate.b = fate.step", "test_proved"),
    Mutation("lab/rehearsal.py", "self.copies.items() if p.requires_grad and optimizer.holds(p)}", "self.copies.items() if optimizer.holds(p)}", "test_proved"),
    Mutation("lab/rehearsal.py", "shift = np.where(dead, 0.0, link.steepest *", "shift = np.where(dead, 0.0, 0.0 * link.steepest *", "test_proved"),
    # the command line
    Mutation("commands/train.py", "layer.flat ** size > 0.5", "layer.flat > 0.5", "test_commands"),
    Mutation("commands/train.py", "done + error.step", "error.step", "test_commands"),
    Mutation("commands/instruments.py", 'held["rng"], held["fit"]["batch"]', 'held["rng"], 0', "test_commands"),
    Mutation("commands/models.py", 'for name in ("model", "optimizer", "schedule")', 'for name in ("model", "schedule")', "test_commands"),
    Mutation("training.py", '{**self.kept, "notes": dict(self.notes)}', "self.kept", "test_commands"),
    Mutation("lab/experiments/page.py", "autoescape=True", "autoescape=False", "test_report"),
    Mutation("training.py", "batches.refilled(self.batch, **homes)", "batches.refilled(**homes)", "test_fit"),
    Mutation("capture/program.py", "recording.replay is not None and all(recording.varied)", "recording.replay is not None", "test_capture"),
    Mutation("capture/replay.py", "if now != self.next:", "if not self.next:", "test_capture_changes"),
    Mutation("training.py", "p.set_grad_to_zeros()", "pass", "test_fit"),
    Mutation("training.py", "self.total / min(self.batch * self.batch_size, len(self.x))", "self.total / len(self.x)", "test_fit"),
    Mutation("training.py", "self.total + value * len(x)", "self.total + value", "test_fit"),
    Mutation("training.py", "        if self.patience is not None and self.best[\"weights\"]:", "        if False:", "test_fit"),
    Mutation("training.py", "        self.rng.bit_generator.state = self.before.bit_generator.state", "        pass", "test_fit"),
    Mutation("kernels/loops/update.py", "if abs(x) < pick(x, *SMALLEST_NORMAL)", "if abs(x) < 0", "test_optim"),
    Mutation("inside/explain.py", "share = _share_of_zeros(slopes)", "share = 1 - _share_of_zeros(slopes)", "test_explain"),
    # native programs and profiles
    Mutation("kernels/machine/program.py", "x.ctypes.data, *x.shape, *x.strides]", "x.ctypes.data, *x.shape[::-1], *x.strides]",
             "test_program"),
    Mutation("kernels/loops/strided.py", "np.may_share_memory(x, out) and not same", "False", "test_program"),
    Mutation("kernels/machine/cost.py", "return several(node.body, not inner)", "return several(node.body, True)", "test_profile"),
    Mutation("profile.py", "seconds - inside.pop()", "seconds - 0 * inside.pop()", "test_profile"),
    Mutation("capture/recording.py", "restore(arrays, before)\n            for segment", "for segment", "test_profile"),
    # sweeps
    Mutation("lab/sweep/__init__.py", "runs.pop(key, None)", "pass", "test_sweep"),
    Mutation("lab/sweep/settings.py", "settings[name] != known[name][0]}", "True}", "test_sweep"),
    Mutation("lab/sweep/settings.py", '"path": _content(given["path"])', '"path": given["path"]', "test_sweep"),
    Mutation("lab/sweep/training.py", "for rng in generators]) + starts", "for rng in generators])", "test_sweep"),
    Mutation("lab/sweep/training.py", "        if len(runs) > 1:", "        if len(runs) > 99:", "test_sweep"),
    Mutation("lab/sweep/store.py", "WHERE error IS NULL AND", "WHERE", "test_sweep"),
    Mutation("lab/sweep/store.py", "if isinstance(error, BlockingIOError):", "if False:", "test_sweep"),
    Mutation("lab/sweep/results.py", "variance / (n - 1) if variance", "variance / n if variance", "test_sweep"),
    Mutation("lab/experiments/running.py", "        os._exit(1)", "        return", "test_sweep"),
]


def complaint(mutation: Mutation, folder: Path = HOUSE) -> str:
    path = folder / "tinygrad_relu" / mutation.file
    count = path.read_text(encoding="utf-8").count(mutation.old) if path.exists() else 0
    return "" if count == 1 else f"the old text is in {mutation.file} {count} times, expected once: {mutation.old.splitlines()[0]!r}"


# -- the copy ----------------------------------------------------------------------------------------------------------

def copied(folder: Path) -> Path:
    """The files that git tracks, with their times, by which Numba decides whether a cached kernel is up to date."""
    house = folder / "house"
    names = subprocess.run(["git", "ls-files"], cwd=HOUSE, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (HOUSE / name).exists():
            (house / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HOUSE / name, house / name)
    return house


def tested(house: Path, environment: dict[str, str], files: list[str]) -> str:
    """The first test that fails, or an empty string."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *files], cwd=house, env=environment,
                          capture_output=True, text=True)
    found = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return "" if done.returncode == 0 else found[1] if found else done.stdout[-300:] + done.stderr[-300:]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make some hundred mistakes, one at a time, and see which the tests catch.")
    parser.add_argument("numbers", nargs="*", help="which: numbers or ranges, from 1 (default: all)")
    parser.add_argument("--check", action="store_true", help="only look whether the old texts are there")
    parser.add_argument("--likely", action="store_true", help="run only the test files that are likely to catch it")
    options = parser.parse_args()
    wrong = [f"{i}: {found}" for i, mutation in enumerate(MUTATIONS, 1) if (found := complaint(mutation))]
    print("\n".join([*wrong, f"{len(MUTATIONS)} mutations, {len(wrong)} of which do not fit"]))
    if options.check:
        sys.exit(bool(wrong))
    bounds = [(int(first), int(last or first)) for first, _, last in (text.partition("-") for text in options.numbers)]
    chosen = [i for i in range(1, len(MUTATIONS) + 1) if not bounds or any(a <= i <= b for a, b in bounds)]
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        house = copied(Path(folder))
        unchanged = {**os.environ, "PYTHONPATH": str(house)}            # the same sources find the kernels of this checkout
        changed = {**unchanged, "NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
        for i in chosen:
            mutation, start = MUTATIONS[i - 1], time.perf_counter()
            path = house / "tinygrad_relu" / mutation.file
            good = path.read_text(encoding="utf-8")
            if complaint(mutation, house):
                continue
            path.write_text(good.replace(mutation.old, mutation.new), encoding="utf-8")
            environment = changed if mutation.file.startswith("kernels/") else unchanged
            try:
                caught = tested(house, environment, [f"tests/{name}.py" for name in mutation.tests.split()])
                if not caught and not options.likely:
                    caught = tested(house, environment, [])
            finally:
                shutil.copy2(HOUSE / "tinygrad_relu" / mutation.file, path)
            print(f"{i:2} {mutation.file}: {f'caught by {caught}' if caught else 'MISSED'} ({time.perf_counter() - start:.0f} s)", flush=True)
            if not caught:
                missed.append(f"{i:2} {mutation.file}: {mutation.old!r} -> {mutation.new!r}")
    print(f"{len(chosen) - len(missed)} of {len(chosen)} caught", *missed, sep="\n")


if __name__ == "__main__":
    main()
