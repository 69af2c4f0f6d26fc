"""How good a translation is, and whether its uncertainty is true."""
