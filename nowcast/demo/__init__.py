"""nowcast demo: an hour of real radar that comes with nowcast, forecast, and compared with what
came.

May import everything but the command line. Read ``hour`` first (the data, whose origin and terms
stand in README.md beside them), then ``forecasting`` (the forecasts and their scores); ``picture``
draws them. Nothing is stored but the radar: every number is computed when it is asked for.
"""
