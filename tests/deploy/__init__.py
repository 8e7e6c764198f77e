"""The container image, the compose file and the proxies, tried with what this machine has."""
