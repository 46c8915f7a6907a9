"""Conversions between units at the program's boundary.

Inside the program lengths are Å and angles radians; a quantity in any other unit
carries its unit as a suffix of its name.
"""

ANGSTROM_PER_MM = 1e7
ANGSTROM_PER_MICRON = 1e4
VOLT_PER_KV = 1e3
