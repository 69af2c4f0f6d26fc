"""Work that does not hold up the viewer: the worker process, jobs in it, and small steps on the main thread."""
