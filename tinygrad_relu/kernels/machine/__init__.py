"""The compiler and its cache, the launch of kernels, threads, matrix products, and the settings of the machine."""
