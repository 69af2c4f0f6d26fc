"""What a run writes down: journal, checkpoints, state; read by the viewer without torch."""
