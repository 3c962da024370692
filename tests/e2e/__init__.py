"""Real OVN and real (emulated) guests, driven through the public APIs by unmodified clients, in a network namespace of our own."""
