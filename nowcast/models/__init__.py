"""Models: from context frames to a prediction of the frames that follow.

What a model is stands in ``base`` (`ForecastModel` and its `Capabilities`) and ``prediction``
(`Prediction`: a single field, an ensemble, a distribution). Networks of normalised frames derive
from ``network.Network``, recurrent ones that read their own output from
``autoregressive.Autoregressive``; there is one file or folder for each architecture. May import:
runtime, types. Read ``base`` first, then ``unet``, the shortest network.

How to add one, here or in a package of your own:

1. a class that derives from ``Network`` and defines ``unroll``, frames (B, T, C, H, W) in, raw
   frames (B, forecast_length, 1, H, W) out (or from ``ForecastModel``, with ``forward``);
2. ``capabilities``, where it can or needs more than the default says;
3. a YAML file in ``conf/model`` whose ``_target_`` names it. It is then trained, evaluated, saved
   and exported as all others; ``tests/test_models.py`` asks of every file there what a model must
   do.
"""
