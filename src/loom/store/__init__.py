"""Where streams are stored.

base      the contract of a store; with its tests, `loom.testing.store`, the public part
rules     what each change does to a stream's row
places    the sparse index of lines and times
common    parts that every store shares
memory    a store that loses everything when the process ends
files     the default: one directory, a commit log
"""
