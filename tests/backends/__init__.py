"""Real servers that stores stand on, each in a process of its own."""
