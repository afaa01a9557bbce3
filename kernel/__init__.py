"""The floor: database, money, clock, errors, ids, paging, idempotency, jobs. Imports no other room."""
