"""The ConvLSTM of Shi et al. (2015), and what makes it fast."""

from nowcast.models.convlstm.layer import ConvLSTM, ConvLSTMCell

__all__ = ["ConvLSTM", "ConvLSTMCell"]
