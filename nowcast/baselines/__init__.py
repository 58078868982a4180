"""Baselines: models without weights, that every network is compared with.

They are called as the networks are (``nowcast.models.base``) and stand in the same table, but work
on rain rates [mm/h], without a transform. May import: runtime, types, models. Read ``persistence``
first; ``pysteps_methods`` has what those of pysteps share.

How to add one: a class that derives from ``ForecastModel`` (or from ``PystepsMethod``), says in
``capabilities`` and ``context_length`` what it can and needs, and returns a ``Prediction``; then a
file in ``conf/baselines`` that names it.
"""
