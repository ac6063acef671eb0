"""The loops over arrays: every kernel, compiled for float32 and float64."""
