"""From the newest frames to a published forecast, once (predict) or for every cycle (watch).

Read ``forecaster`` first: it turns frames into a forecast, and is the only place where torch
becomes numpy again. Then ``prediction`` (one forecast) and ``watch`` (a service: ``incoming`` and
``arriving_files`` bring frames, ``schedule`` says what is due, ``decision`` what it is made from,
``fallback`` makes it, ``forecast_folder`` publishes it, ``status`` reports; ``calibration`` learns
from the last hours how reliable it was, ``recalibration`` corrects it). ``replay`` lets a watch
live through archived frames with faults.

May import evaluation, output, drawing and page, and what these may. To add a fault to ``replay``: a
row in ``replay.FAULTS`` and one in ``radar_feed.RadarFeed``; to add a product: a field of
``products.Products``, made in ``products.derive``, and a variable in ``output.netcdf_variables``.
"""
