"""The pages of people's own affairs and of administration over HTTP, as a browser without JavaScript meets them."""
