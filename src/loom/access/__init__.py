"""Access: tokens, what they allow, and their quotas. Private."""
