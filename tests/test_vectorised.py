"""Every activation's loops hold packed instructions: LLVM vectorised them, and they call no scalar function of libm.

A formula loses its vector loop silently (a math.exp, a branch, a function too big to be inlined), and then costs ten
times as much. So the machine code is read: one of the kernel's innermost loops must compute with packed instructions
only, and the kernel must not call anything.
"""
from __future__ import annotations

import math
import platform
import re

import numba
import numpy as np
import pytest

from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.kernels.formulas.record import Elementwise
from tinygrad_relu.kernels.loops.loss import ERRORS
from tinygrad_relu.kernels.loops.pointwise import loops
from tinygrad_relu.kernels.machine import host, native, policy, processor
from tinygrad_relu.kernels.machine.compiler import compilers

FAMILY = {"x86_64": "x86", "AMD64": "x86", "arm64": "arm", "aarch64": "arm"}.get(platform.machine(), "other")
pytestmark = pytest.mark.skipif(FAMILY == "other", reason=f"no patterns for the machine code of {platform.machine()}")

# x86: vaddps %zmm0, ... is packed, vaddss %xmm0, ... scalar. (vandps %xmm0 may be either: so "packed, and no scalar".)
# arm: fadd v0.4s, ... (fadd.4s v0, ... for Apple) and fadd z0.s, ... are packed, fadd s0, ... is scalar.
_X86_STEM = (r"v?(?:add|sub|mul|div|sqrt|fn?m(?:add|sub)\d+|min|max|cmp\w*?|u?comi|blend[vm]?|andn?|or|xor|"
             r"rndscale|round)")
_ARM_STEM = r"(?:f\w+|bi[cft]|bsl|and|orr|eor|sel)"
PACKED = {"x86": re.compile(rf"{_X86_STEM}p[sd]\s.*%[xyz]mm"),
          "arm": re.compile(rf"{_ARM_STEM}(?:\.(?:4s|2d|16b)\s|\s+v\d+\.(?:4s|2d|16b)|\s+[zp]\d+\.[sd])")}
SCALAR = {"x86": re.compile(rf"{_X86_STEM}s[sd]\s"),
          "arm": re.compile(r"f(?!mov)\w+\s+[sd]\d+")}
CALL = {"x86": re.compile(r"callq?\s"), "arm": re.compile(r"blr?\s")}


def machine_code(activation: Elementwise[...], dtype, direction: str) -> list[str]:
    """The instructions and labels of one of an activation's loops, recompiled, because the disk cache keeps no assembly."""
    kernel = getattr(loops(activation), direction)
    signature = kernel.signature(np.dtype(dtype))
    policy.tell_numba(), native.target()        # makes the functions known that kernels call
    compiled = numba.njit(pipeline_class=compilers().of_kernels, **kernel.options)(kernel.function)
    compiled.compile(signature)
    assembly = compiled.inspect_asm(signature)
    body = re.search(r'^_?"?\S+_slice"?:.*?\n(.*?)(?=^(?!\.?L)\S+:|\Z)', assembly, re.MULTILINE | re.DOTALL)
    assert body, "the body of `parallel` is not in the assembly"
    return [line.strip() for line in body[1].splitlines() if line.strip()]


def inner_loops(code: list[str]) -> list[list[str]]:
    """The basic blocks that jump back to their own label."""
    loops, label, block = [], "", []
    for line in code:
        if found := re.match(r"(\.?LBB\d+_\d+):", line):
            label, block = found[1], []
        elif label:
            block.append(line)
            if re.match(r"(?:j\w+|b\.\w+|cbn?z|tbn?z)\s", line) and re.search(rf"{re.escape(label)}\b", line):
                loops.append(block)
    return loops


def complaint(code: list[str]) -> str:
    """What is wrong with the code; the empty string if it is vectorised."""
    calls = [line for line in code if CALL[FAMILY].match(line)]
    if calls:
        return f"calls a function: {calls}"
    for block in inner_loops(code):
        packed, scalar = ([line for line in block if pattern[FAMILY].match(line)] for pattern in (PACKED, SCALAR))
        if packed and not scalar:
            return ""
    return "has no loop of packed instructions"


@pytest.mark.sample(2)
@pytest.mark.parametrize("direction", ["forward", "pullback"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("activation", [*ACTIVATIONS.values(), *ERRORS.values()], ids=lambda activation: activation.name)
def test_loop_is_vectorised(activation, dtype, direction):
    fault = complaint(machine_code(activation, dtype, direction))
    assert not fault, f"the {direction} loop of {activation.name} {fault}"


@pytest.mark.skipif(FAMILY != "x86", reason="the registers are those of x86")
def test_the_width_of_vectors_is_the_one_that_doctor_names():
    exp = machine_code(ACTIVATIONS["exp"], np.float32, "forward")
    used = next(bits for bits, name in ((512, "%zmm"), (256, "%ymm"), (128, "%xmm")) if any(name in line for line in exp))
    assert used == host.simd_bits() and (used == 512 or not processor.is_wide())


def test_four_vectors_are_computed_in_turns():
    division = re.compile(r"v?divp[sd]\s|fdiv")
    blocks = inner_loops(machine_code(ACTIVATIONS["tanh"], np.float32, "pullback"))      # it divides once
    assert max(sum(bool(division.match(line)) for line in block) for block in blocks) == 4


def test_a_choice_of_the_user_stands(monkeypatch):
    features = "+avx,+avx2,+avx512f,+avx512vl,+fma"
    for chosen, name, wide in [(None, "emeraldrapids", True), (None, "skylake-avx512", False), (features, "emeraldrapids", False)]:
        monkeypatch.setenv("NUMBA_CPU_FEATURES", chosen) if chosen else monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
        monkeypatch.setattr(processor, "features", lambda: tuple(features.split(",")))
        monkeypatch.setattr(processor, "processor", lambda name=name: name)
        assert processor.is_wide() == wide


@policy.scalar
def with_libm(x):
    return math.exp(x)


@policy.scalar
def with_a_branch(x):
    total = x
    while total > type(x)(1):       # the number of steps depends on x
        total = total * type(x)(0.5)
    return total


@pytest.mark.parametrize("formula", [with_libm, with_a_branch])
def test_the_check_sees_a_scalar_loop(formula):
    spoilt = Elementwise[...]("spoilt", formula, lambda g, x, y: g, lambda c, x, y: c, "", "")
    assert complaint(machine_code(spoilt, np.float32, "forward"))
