"""Forecasts of models, baselines and other systems against what came: over the same pixels, in
several processes, with intervals.
"""
