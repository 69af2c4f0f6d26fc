"""Seeded mutation fuzzing of everything that reads what comes from outside."""  # noqa: N999
