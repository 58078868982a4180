"""A ConvLSTM that moves with the rain: what the motion explains is left to the motion, the network
learns what changes on the way.

The context's motion is estimated (``motion``) and its frames are brought to where their rain is at
the analysis time (``context``). In that frame, on cells of about 4 km, an encoder-forecaster of
three ConvLSTM layers on ever coarser maps reads them and predicts for every lead what has become of
the rain (``network``): how probable it is that the rate exceeds each of some levels
(``distribution``). It starts from what the context itself says: each scale, from details of a
kilometre to patterns of a hundred, goes on as a regression on the last frames has it, for large
patterns keep growing or decaying for tens of minutes (``scales``). What of it holds at a place and
a lead, the network says; the result is sampled where each pixel's rain departed from
(``evolution``, ``carrying``). Members are ranked by noise that moves along (``ensemble``). The
network is given the minutes and kilometres of the frames, so that it serves any cadence and grid
spacing; every number that someone chose is in ``settings``. Read ``network`` first.
"""

from nowcast.models.lagrangian.network import LagrangianConvLSTM

__all__ = ["LagrangianConvLSTM"]
