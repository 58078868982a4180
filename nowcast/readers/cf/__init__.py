"""Rain in data sets that follow the CF conventions, whatever they are stored in (NetCDF-3,
NetCDF-4, zarr).

Nothing is assumed that a file does not say: a unit, an interval or a projection that is missing is
an error. Read ``source`` first (what a storage format passes on: variables not yet read), then
``rain`` (from a source to frames); ``reader`` is the base of the readers. May import what the
other readers may: ``runtime`` and ``types``.
"""
