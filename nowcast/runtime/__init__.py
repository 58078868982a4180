"""What a command runs in: the processes it was started with, and what they say to one another.

Nothing here knows radar, models or Lightning; it imports errors alone, and torch only once there is more than one process. Read ``world.py`` first.
"""
