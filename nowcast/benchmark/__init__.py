"""`nowcast benchmark`: what nowcast costs on the machine at hand.

It may import every room but ``cli``. Read ``measuring`` first: the clock, the memory, the tables
and the file that all benchmarks share. What was measured once, and is not measured any more, stands
in docs/explanation/benchmarks.md with its date.

To add one: a frozen dataclass in a file here, whose ``run(host)`` returns a ``measuring.Report``,
and conf/what/NAME.yaml with its settings; `nowcast benchmark what=NAME` then runs it.
"""
