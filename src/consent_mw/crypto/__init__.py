"""Keys, what they seal, and what they sign."""
