"""What visitors may ask for about their data, and how it is carried out: see, correct, restrict, withdraw, erase."""
