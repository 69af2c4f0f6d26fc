"""The process that a viewer talks to; Documentation/Worker.md is the protocol."""
