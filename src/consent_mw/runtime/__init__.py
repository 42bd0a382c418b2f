"""The running middleware: it puts the parts together, filters answers, and follows the application's lifespan."""
