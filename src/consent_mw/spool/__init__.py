"""Frames on the local disk until a store has them."""
