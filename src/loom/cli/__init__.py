"""The commands. Here alone are concrete parts picked and put together; nothing imports this package."""
