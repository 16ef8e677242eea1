"""Live streams: cameras, servers, webcams and pipes, which are read once, in order, as they come."""
