"""账: every fen and every pack that moved, from where, to where, why. Append-only, corrected by reversing entries."""
