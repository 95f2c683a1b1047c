"""Work that runs beside requests: deadlines, digests, integrity checks, webhooks. Private."""
