"""A data folder and a checkpoint on which a whole training takes seconds."""

from dataclasses import replace
from pathlib import Path

import data_miniatures
from small_checkpoint import OTHER_SIZES, write_checkpoint

from lisa_ros.training.config import TrainConfig

# CLIP with 64 image tokens instead of 576.
SIZES = replace(OTHER_SIZES, clip_image=112)


def write_start(root: Path, tokenizer: Path) -> TrainConfig:
    """Write `root/lisa`, `root/clip` and `root/data`; gives a training of four steps with them.

    The data are of three families, the pictures of three sizes; one family has words alone.
    """
    lisa, clip = write_checkpoint(root, SIZES, tokenizer)
    data = root / "data"
    data_miniatures.write_reason_seg(data)
    pictures = data / "reason_seg/ReasonSeg"
    data_miniatures.write_refcoco(data)
    data_miniatures.write_llava_instruct(data)
    for i, size in enumerate([(48, 40), (40, 80), (64, 64)]):
        name = f"val/more{i}"
        data_miniatures.write_photo(pictures / f"{name}.jpg", 10 + i, size)
        values = data_miniatures.annotation(["the bowl"], {"target": data_miniatures.LEFT})
        data_miniatures.write_json(pictures / f"{name}.json", values)
    data_miniatures.write_photo(data / "coco/train2017/000000000009.jpg", 3, (70, 50))
    return TrainConfig(
        model=str(lisa),
        run=str(root / "run"),
        vision_tower=str(clip),
        precision="fp32",
        data=str(data),
        families={
            "refer_seg": ["refcoco"],
            "vqa": ["llava_instruct_150k"],
            "reason_seg": ["ReasonSeg|train"],
        },
        rates={"refer_seg": 1, "vqa": 1, "reason_seg": 1},
        epochs=2,
        steps_per_epoch=2,
        warmup_steps=2,
        micro_batch=1,
        accumulation=2,
        workers=0,
    )
