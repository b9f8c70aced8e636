"""Trainings of the tests run on the CPU, also where there is a GPU."""

import os

os.environ["ACCELERATE_USE_CPU"] = "true"
