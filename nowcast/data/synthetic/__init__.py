"""What ``nowcast.data.synthetic_rain`` is made of.

Read ``ranges`` first: it has every number that is drawn, with its unit and reason. ``fields`` makes
rain that moves with the air and fades, ``motion`` the wind that carries it, and ``radar`` what a
radar makes of it.
"""
