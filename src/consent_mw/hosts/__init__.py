"""Several hosts of one site: their identities, and how they share the keys of days through the store."""
