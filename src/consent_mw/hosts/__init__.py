"""Several hosts of one site: who they are, and how they share the keys of days through the store."""
