"""Where streams are kept: one contract in `base`, one package or module for each store."""
