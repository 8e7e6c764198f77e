"""The pages that people browse, over HTTP and in a browser."""
