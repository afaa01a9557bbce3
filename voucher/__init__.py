"""福利券: campaigns and their spend-and-save rule; what a member was given, what is held, what has been redeemed."""
