"""Several models, each trained with several seeds, side by side.

Read `settings` first (which trainings are to be made), then `runs` (how they are finished; each is
an ordinary run folder, OUTPUT/MODEL/seed-N) and `table` (what came out). It may import all of
``training`` and ``evaluation``.
"""
