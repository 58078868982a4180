"""nowcast: precipitation nowcasting with ConvLSTM networks."""

__version__ = "0.1.0"
