"""礼包: merchants' tiered gift packs, what is in them, and how many there are."""
