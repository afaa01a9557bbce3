"""Torture: people buy while all around them is killed, and what they were told is proven (`make torture`)."""
