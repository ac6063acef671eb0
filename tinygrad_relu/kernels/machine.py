"""What LLVM knows about the processor that kernels are compiled for: questions that `doctor` asks."""
from __future__ import annotations

from llvmlite import binding as llvm
from numba.core import config
from numba.core.codegen import get_host_cpu_features

# One sum over more numbers than a register holds: LLVM splits it into the widest registers that it would use by itself.
# (The attribute says that no particular width is asked for. Without it LLVM would take 512 bits even on processors
# where it avoids them, because they lower the clock.)
_SUM = """
define void @sum(ptr %a) "min-legal-vector-width"="0" {
  %x = load <32 x float>, ptr %a
  %y = fadd <32 x float> %x, %x
  store <32 x float> %y, ptr %a
  ret void
}
"""
_REGISTERS = {"%zmm": 512, "%ymm": 256}


def processor() -> str:
    """LLVM's name of the processor, such as ``znver5`` or ``skylake-avx512`` (or what NUMBA_CPU_NAME says)."""
    return str(config.CPU_NAME or llvm.get_host_cpu_name())


def simd_bits() -> int:
    """The width of the vector registers that compiled kernels use: 512 (AVX-512), 256 (AVX2), or 128 (SSE, NEON)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    target = llvm.Target.from_default_triple().create_target_machine(cpu=processor(), features=features, opt=3)
    assembly = target.emit_assembly(llvm.parse_assembly(_SUM))
    return next((bits for register, bits in _REGISTERS.items() if register in assembly), 128)
