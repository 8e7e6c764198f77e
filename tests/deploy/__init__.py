"""What is shipped for deployment, tried with real proxies, containers and service managers."""
