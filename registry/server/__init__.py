"""The wire: the only room with uvicorn. It runs any ASGI application and knows nothing of ours."""
