"""Between the loops and the machine: the compiler, the launch, threads, matrix products, memory."""
