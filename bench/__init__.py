"""What a request costs: this middleware beside others, in one run, in ratios. Start it with `make bench`."""
