"""Numba's tables of functions, filled as this is imported: each process would fill its own."""

from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
