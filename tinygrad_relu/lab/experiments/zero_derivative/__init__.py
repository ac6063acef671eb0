"""What moves, and what does not, where the gradient is exactly zero."""
