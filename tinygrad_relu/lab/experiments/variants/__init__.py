"""Leaky, PReLU, RReLU, ELU, Maxout and their kin."""
