"""Simulated patients and scanners: data for tests, demonstrations and the bundled model, never for diagnosis."""
