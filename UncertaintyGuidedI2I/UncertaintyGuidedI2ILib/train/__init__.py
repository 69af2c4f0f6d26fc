"""The panel that trains: pairs, settings, one training at a time, its charts and what comes of it."""
