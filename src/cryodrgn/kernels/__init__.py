"""Operations with several implementations behind one signature each: torch and numba.

:func:`~cryodrgn.kernels.backends.kernels_for` chooses among them, by device and by what is
installed, and is the only place that does.
"""
