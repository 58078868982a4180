"""What data are: a grid, frames, a forecast, a task, a batch and its scale, and the transform
between physical and normalised values; below them arrays as libraries pass them, tolerances, units
and where the pixels of grids lie.

It knows no file format, no model and no part of nowcast but its errors, so that everything may
import it. Read ``frames`` first, then ``arrays``: every array that enters passes through it, and a
mask becomes NaN there.
"""
