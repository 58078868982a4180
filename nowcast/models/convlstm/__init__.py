"""The ConvLSTM layer (Shi et al. 2015), fast, and with every option that Keras has.

``cell`` has the weights and one step, ``layer`` runs a cell over a sequence (one step at a time, or
by ``recurrence`` as one differentiable function), ``gates`` computes the gates in one pass over
memory (in C, Triton or torch), ``packed`` orders convolution weights once, and ``keras_weights``
carries weights from and to Keras. Read ``cell`` first.
"""

from nowcast.models.convlstm.cell import ConvLSTMCell
from nowcast.models.convlstm.layer import ConvLSTM

__all__ = ["ConvLSTM", "ConvLSTMCell"]
