"""What the package needs of the process it runs in: composing a configuration, the calling program's state, progress.

Imports nothing of nowcast but ``nowcast.errors``; everything else may import it.
"""
