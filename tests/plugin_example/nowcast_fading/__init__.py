"""Rain that fades: an example of a plug-in for nowcast.

Readers that stand here are asked by ``reader=auto``, too.
"""

from nowcast_fading.reader import RainText

__all__ = ["RainText"]
