"""The declaration: `policy.toml` read, checked, compared, announced, and which revision holds when."""
