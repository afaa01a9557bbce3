"""支付: how money comes in and goes back: a small interface, a provider each. No lock is held while one is called."""
