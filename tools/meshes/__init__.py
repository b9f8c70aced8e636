"""The parts of `bake_meshes.py`: which meshes, how they are read, made, cleaned and reduced."""
