"""HTTP. `v2/` is the distribution API as plain ASGI; everything else is Starlette."""
