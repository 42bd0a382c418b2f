"""When things end, what destroys them then, the proof of it, and the counts that remain."""
