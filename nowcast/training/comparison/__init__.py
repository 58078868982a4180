"""Several models, each trained with several seeds, side by side.

Read `settings` first (which trainings are to be made), then `runs` (each is an ordinary run folder,
OUTPUT/MODEL/seed-N), `finding` (which runs lie in folders that are there) and `table` (what came
out). It may import all of ``training`` and ``evaluation``; what trains them is ``cli``.
"""
