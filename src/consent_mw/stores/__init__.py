"""Where records are kept: the contract in `base`, and the stores that come with the package."""
