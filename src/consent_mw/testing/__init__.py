"""For testers: header strategies, a store suite, a clock and an ASGI driver."""
