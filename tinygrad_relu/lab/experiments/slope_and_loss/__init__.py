"""The slope at the kink, and what the loss has to do with it."""
