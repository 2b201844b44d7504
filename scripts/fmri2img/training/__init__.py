"""The training engine: one loop for every decoder that is trained by gradient descent, on any number of processes."""
