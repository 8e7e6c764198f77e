"""The lists of this registry in the words of other products, for what already speaks those: read-only, and with the
rights of the hub's API."""
