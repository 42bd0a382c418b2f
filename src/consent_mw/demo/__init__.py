"""A small real site that tries to set more cookies than its visitors may want. `consent-mw demo` runs it."""
