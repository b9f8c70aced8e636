"""Training by the paper: losses, batches and the one loop that every recipe uses.

Lai et al., "LISA: Reasoning Segmentation via Large Language Model", CVPR 2024, section 3.2.
"""
