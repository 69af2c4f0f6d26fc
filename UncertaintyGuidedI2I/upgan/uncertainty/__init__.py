"""The distribution that is predicted in every voxel, what follows from it, and whether it is true."""
