"""Long numerics in slices of time, so that a viewer can live meanwhile."""
