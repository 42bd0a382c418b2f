"""The middleware at work: its parts put together, its answers filtered, its lifespan."""
