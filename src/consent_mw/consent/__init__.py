"""The visitor's choice, what it allows, the receipts of it, and whom data is about."""
