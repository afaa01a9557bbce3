"""Use-cases of orders, by the part of an order's life: placing, paying, bulk, fulfilment."""
