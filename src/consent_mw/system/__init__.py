"""What the rest stands on: days, locks, who owns a file, text from outside, memories of a bounded size."""
