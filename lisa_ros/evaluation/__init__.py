"""How good a model is: gIoU and cIoU by the published protocols, and by what users get."""
