"""Table-top scenes with ground truth: what lies there, how it looks, and what one may ask of it."""
