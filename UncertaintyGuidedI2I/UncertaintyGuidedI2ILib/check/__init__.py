"""The panel that checks a result against a reference: figures, charts, error map."""
