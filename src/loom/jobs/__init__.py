"""Background jobs: deadlines, digests, integrity checks, webhooks. Private."""
