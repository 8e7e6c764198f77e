"""What nobody waits for: work on the whole of what is stored."""
