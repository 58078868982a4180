"""What nowcast promises of reliability, shown case by case: ``python -m tests.battery`` kills,
cuts, mutates and poisons, and counts.

A guarantee is a function of a `Stage`; it gives one `Outcome`. They are listed in
``tests.battery.guarantees``.
"""
