"""What a visitor sees: banner, settings, policy page, my data."""
