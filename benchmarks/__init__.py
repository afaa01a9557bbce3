"""Where the performance figures come from: an embedded PostgreSQL, filled tables, and what is timed against what."""
