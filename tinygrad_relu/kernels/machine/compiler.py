"""Numba's compiler as kernels use it: a kernel is optimised once, together with all that it inlines.

Numba makes each function that a kernel calls ready to run by itself: it optimises it, makes machine code, and adds a wrapper for
C. So a function that is called through four others is optimised five times. But kernels inline their functions and use nothing
of this. Here each is a `Part`: code in LLVM's language that waits for its kernel. All kernels take a third of the time.

This file changes the code of kernels like those that use numba.extending, so its text counts for every `fingerprint`.
"""
from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from .processor import widen


class Compilers(NamedTuple):
    """Compilers in the sense of Numba's option ``pipeline_class``."""

    of_kernels: Any
    of_parts: Any


def interleave(function: Any, count: int) -> None:
    """Ask LLVM to compute so many vectors in turns in each loop of a function of llvmlite."""
    from llvmlite import ir

    wish = function.module.add_metadata(["llvm.loop.interleave.count", ir.Constant(ir.IntType(32), count)])
    loop = function.module.add_metadata([wish])
    loop.operands = loop, wish                  # so LLVM tells it from other metadata
    seen: set[Any] = set()
    for block in function.blocks:
        seen.add(block)
        if isinstance(block.terminator, ir.Branch) and block.terminator.operands[0] in seen:        # back to the loop's head
            block.terminator.set_metadata("llvm.loop", loop)


@cache
def compilers() -> Compilers:
    """Made when Numba is needed."""
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_machinery import register_pass
    from numba.core.lowering import Lower
    from numba.core.typed_passes import NativeLowering

    class Part(JITCodeLibrary):
        """The code of a function that kernels inline, and of the functions that it calls."""

        codegen = property(lambda self: SimpleNamespace(set_env=lambda name, environment: None))    # only running code needs one

        def finalize(self) -> None:
            for library in dict.fromkeys(self._linking_libraries):
                self._final_module.link_in(library._get_module_for_linking(), preserve=True)
            self._finalize_dynamic_globals()
            self._finalized = True

        def get_pointer_to_function(self, name: str) -> int:
            return 0        # there is no machine code

    class Wide(Lower):
        def lower_normal_function(self, fndesc: Any) -> None:
            super().lower_normal_function(fndesc)
            widen(self.function)
            if count := getattr(self.func_ir.func_id.func, "vectors_in_flight", 0):
                interleave(self.function, count)

    def compiler(name: str, kind: Any) -> Any:
        class Lowering(NativeLowering):
            _name = f"native_lowering_of_{name}"
            lowering_class = Wide

            def run_pass(self, state: Any) -> bool:
                state.library = kind(state.targetctx.codegen(), state.func_id.func_qualname)
                state.library.enable_object_caching()
                return bool(super().run_pass(state))

        register_pass(mutates_CFG=True, analysis_only=False)(Lowering)

        class Compiler(CompilerBase):
            def define_pipelines(self) -> list[Any]:
                passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
                passes.passes = [(Lowering if each is NativeLowering else each, why) for each, why in passes.passes]
                passes.finalize()
                return [passes]

        return Compiler

    return Compilers(compiler("kernels", JITCodeLibrary), compiler("parts", Part))
