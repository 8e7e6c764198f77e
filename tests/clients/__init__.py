"""Real clients against a real server, over loopback: what they push comes back whole, whoever pulls it."""
