"""The batches of a golden folder's `train.npz`, as this package holds batches."""

import numpy as np
import torch
from golden_set import GoldenSet

from lisa_ros.model.conversation import Turn
from lisa_ros.model.preprocessing import clip_input, sam_input
from lisa_ros.training.batch import Batch, Conversation


def turns(text: str) -> list[Turn]:
    """The rounds of a conversation that the golden set holds as one string (llava_v1)."""
    rounds = text.split("USER: ", 1)[1].split("</s>")[:-1]
    pairs = [r.removeprefix("USER: ").split(" ASSISTANT: ") for r in rounds]
    return [Turn(question.removeprefix("<image>\n"), answer) for question, answer in pairs]


def masks(arrays, key: str) -> torch.Tensor:
    shape = tuple(arrays[f"{key}_shape"])
    bits = np.unpackbits(arrays[f"{key}_packed"], axis=1, count=shape[1] * shape[2])
    return torch.from_numpy(bits.reshape(shape).astype(np.float32))


def golden_batch(golden: GoldenSet, name: str) -> Batch:
    arrays, model = golden.arrays("train"), golden.model
    meta = golden.meta["train"][name]
    images = [golden.image(i) for i in arrays[f"{name}/image_index"]]
    config = model.config
    sam = [sam_input(image, config.sam.image_size) for image in images]
    clip = [clip_input(image, config.clip_preprocessing, config.clip_view) for image in images]
    counts = np.diff(arrays[f"{name}/offset"])
    return Batch(
        sam_pixels=torch.stack([pixels for pixels, _ in sam]),
        clip_pixels=torch.stack(clip),
        geometry=[geometry for _, geometry in sam],
        conversations=[
            Conversation.encode(model.tokenizer, turns(text), template=golden.conversation)
            for text in meta["conversations"]
        ],
        image_index=np.repeat(np.arange(len(images)), counts).tolist(),
        masks=[masks(arrays, f"{name}/gt_masks{k}") for k in range(len(images))],
    )
