"""Transforms, frequency grids, shifts, resampling and shell statistics.

Transforms are centred (zero frequency and the real-space origin at index ``box // 2``)
and carry no factor in the forward direction. Boxes have an even number of pixels.
"""
