"""Money's rooms: the ledger, the gateways that take money in, and settlement with merchants."""
