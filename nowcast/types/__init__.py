"""What values are: arrays as libraries pass them, the tolerances of data, and where the pixels of
grids lie.

It knows no file format, no model and no part of nowcast but its errors, so that everything may
import it. Read ``arrays`` first: every array that enters passes through it, and a mask becomes NaN
there.
"""
