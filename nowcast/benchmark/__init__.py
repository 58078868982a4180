"""Measurements on the machine at hand; one file for each thing that is measured, ``measuring`` for
what they share.
"""
