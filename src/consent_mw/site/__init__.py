"""Everything that a visitor sees: the banner, the settings, the policy page, *My data*."""
