"""From a finished request to its records: what is written down, minimised, and moved to the store."""
