"""Pictures: fields of rain on a map (PNG), forecasts that move (GIF), curves of scores and losses.

The only room that knows matplotlib. It may import ``types``, ``runtime`` and ``evaluation``.
Read ``colours`` first (what every colour means, here, in the report and on the page), then
``maps``. A new kind of picture is a function that ends with ``figures.save``, in the file of its
subject: ``maps`` and ``animation`` for fields, ``curves`` for numbers.
"""
