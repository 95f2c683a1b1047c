"""Benchmarks: Loom beside what it is measured against, in one run on one machine, as ratios.

`scripts/bench NAME` runs one of them, `make bench` all. They are programs and no tests: nothing fails by
being slow.
"""
