"""What visitors may ask for about their data, and what becomes of it: see, correct, restrict, withdraw, erase."""
