"""Benchmarks: Loom and what it is compared with, in one run on one machine, as ratios.

`scripts/bench NAME` runs one benchmark, `make bench` runs all. They are programs, not tests: a slow result
is no failure.
"""
