"""结算: what each merchant is owed for a month of a campaign, from the ledger's postings and nothing else."""
