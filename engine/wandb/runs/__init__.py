"""Writing runs: under which id, what becomes of each part, and in which order it is sent."""
