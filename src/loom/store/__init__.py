"""Where streams are stored.

base      the contract of a store; with its tests, `loom.testing.store`, the public part
rules     what each change does to a stream's row
places    the sparse index of lines and times
common    what every store is built with
memory    a store that forgets everything at its end
files     the default: one directory, a commit log
"""
