"""The one training at a time: where it stands, its process, and the run's folder that it watches."""
