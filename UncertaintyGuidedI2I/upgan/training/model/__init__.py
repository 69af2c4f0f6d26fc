"""A finished run becomes a bundle: calibrated, measured on held-out patients, described on a card."""
