"""How nowcast lives on a machine: threads, and what else concerns the process and not rain.

May import nothing of nowcast but `errors` and `files`. Read `threads` first.
"""
