"""Numba's tables of functions and the schema of notebooks, which each process would compile."""

import nbformat
from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
nbformat.validate(nbformat.v4.new_notebook())
