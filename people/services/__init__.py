"""Use-cases of people: signing in, seats, tokens, messages, arrivals."""
