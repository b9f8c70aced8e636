"""A recipe of toy sizes, which two processor cores can follow in a minute."""

from lisa_ros.training.embedded import EmbeddedSizes
from lisa_ros.training.scene_set import SceneSettings
from lisa_ros.training.tiny_model import Recipe

SIZES = EmbeddedSizes(
    vocabulary=1200,
    hidden=96,
    mlp=192,
    layers=2,
    heads=4,
    clip_image=96,
    clip_patch=16,
    clip_width=64,
    clip_layers=2,
    clip_heads=4,
    sam_image=128,
    sam_width=64,
    sam_layers=2,
    sam_heads=4,
    sam_window=4,
    sam_global=(1,),
    conv_stem=(8, 16, 32),
    prompt=64,
    decoder_mlp=64,
)


def small_recipe(**choices) -> Recipe:
    values = {
        "sizes": SIZES,
        "settings": SceneSettings(width=128, height=96, questions=3),
        "scenes": 8,
        "test_scenes": 4,
        "calibration_scenes": 4,
        "test_questions": 3,
        "sentences": 3000,
        "images": 8,
        "questions": 3,
        "encoder_steps": 200,
        "steps": 400,
        "learning_rate": 2e-3,
        "encoder_rate": 1.0,
    }
    return Recipe(**{**values, **choices})
