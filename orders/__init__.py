"""订单: quotes, members' orders, unions' orders with their recipients, payment, parcels."""
