"""The commands of the programs `loom` and `stream`. No other package imports this one."""
