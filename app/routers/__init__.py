"""HTTP and WebSocket in, one service call, schema out."""
