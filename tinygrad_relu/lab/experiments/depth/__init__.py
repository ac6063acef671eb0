"""Gradients as products over the layers."""
