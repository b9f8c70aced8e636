"""LISA as a plain loop: no cache, the whole sequence again for each token, image included.

An independent reading of the published code on `transformers` and `segment_anything` alone, to
hold lisa_ros against for checkpoints that have no golden data.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from small_checkpoint import OTHER_SIZES, llama_config, plain_sam
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaForCausalLM,
)

IMAGE = -200


@dataclass
class PlainAnswer:
    ids: list[int]  # prompt and answer, the image as -200
    seg_embeddings: torch.Tensor  # (n, out_dim)
    low_res_masks: torch.Tensor  # (n, s, s)


class PlainLisa:
    """A checkpoint of `write_checkpoint(..., OTHER_SIZES)`."""

    def __init__(self, lisa: Path, clip: Path) -> None:
        self.folder = lisa
        self.weights = torch.load(lisa / "pytorch_model.bin", weights_only=True)
        self.config = json.loads((lisa / "config.json").read_text())
        self.seg = json.loads((lisa / "added_tokens.json").read_text())["[SEG]"]
        self.llama = LlamaForCausalLM(llama_config(self.config)).eval()
        own = {n: t for n, t in self.weights.items() if n in self.llama.state_dict()}
        self.llama.load_state_dict(own)
        self.sam = plain_sam(OTHER_SIZES)
        self.sam.load_state_dict(self.part("model.visual_model."))
        hidden, clip_hidden = self.config["hidden_size"], OTHER_SIZES.clip_hidden
        self.projector = nn.Sequential(
            nn.Linear(clip_hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.projector.load_state_dict(self.part("model.mm_projector."))
        self.fcs = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, self.config["out_dim"])
        )
        self.fcs.load_state_dict(self.part("model.text_hidden_fcs.0."))
        vision = json.loads((clip / "config.json").read_text())["vision_config"]
        self.tower = CLIPVisionModel(CLIPVisionConfig(**vision)).eval()
        tower = torch.load(clip / "pytorch_model.bin", weights_only=True)
        if not any(name.startswith("vision_model.") for name in self.tower.state_dict()):
            tower = {name.removeprefix("vision_model."): t for name, t in tower.items()}
        self.tower.load_state_dict(tower)
        side = vision["image_size"]
        self.processor = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        weights = self.weights.items()
        return {n.removeprefix(prefix): t for n, t in weights if n.startswith(prefix)}

    @torch.no_grad()
    def states(self, ids: list[int], image: np.ndarray) -> torch.Tensor:
        """(T, hidden) final states of the whole sequence."""
        pixels = self.processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]
        layers = self.tower(pixels, output_hidden_states=True).hidden_states
        features = self.projector(layers[-2][:, 1:])[0]
        at = ids.index(IMAGE)
        before, after = (
            self.llama.model.embed_tokens(torch.tensor(part)) for part in (ids[:at], ids[at + 1 :])
        )
        embeddings = torch.cat([before, features, after])[None]
        return self.llama.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state[0]

    @torch.no_grad()
    def answer(self, prompt: list[int], image: np.ndarray, max_new_tokens: int) -> PlainAnswer:
        ids = list(prompt)
        for _ in range(max_new_tokens):
            ids.append(int(self.llama.lm_head(self.states(ids, image)[-1]).argmax()))
            if ids[-1] == 2:
                break
        # "The 255 trick" for any number of image tokens: the state that predicts [SEG].
        states = self.states(ids, image)
        shift = len(states) - len(ids)  # = number of image tokens - 1
        chosen = [shift + j - 1 for j, i in enumerate(ids) if i == self.seg]
        embeddings = self.fcs(states[chosen])
        # segment_anything's decoder takes no empty batch.
        low_res = self.masks(image, embeddings) if chosen else torch.empty(0)
        return PlainAnswer(ids, embeddings, low_res)

    @torch.no_grad()
    def masks(self, image: np.ndarray, embeddings: torch.Tensor) -> torch.Tensor:
        square = OTHER_SIZES.sam_image
        scale = square / max(image.shape[:2])
        height, width = (int(side * scale + 0.5) for side in image.shape[:2])
        small = np.array(Image.fromarray(image).resize((width, height), Image.BILINEAR))
        mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
        pixels = torch.from_numpy((small - mean) / std).permute(2, 0, 1).float()
        pixels = F.pad(pixels, (0, square - width, 0, square - height))
        features = self.sam["image_encoder"](pixels[None])
        prompts = self.sam["prompt_encoder"]
        dense = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        masks, _ = self.sam["mask_decoder"](
            image_embeddings=features,
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=embeddings[:, None],
            dense_prompt_embeddings=dense.expand(len(embeddings), -1, *features.shape[2:]),
            multimask_output=False,
        )
        return masks[:, 0]

    @torch.no_grad()
    def teach(self, answers: list[tuple[list[int], list[int]]], image: np.ndarray) -> None:
        """Change lm_head so that random weights give each prompt its answer."""
        states, targets = [], []
        for prompt, answer in answers:
            states.append(self.states(prompt + answer, image)[-len(answer) - 1 : -1])
            targets += answer
        inverse = torch.linalg.pinv(torch.cat(states).double()).float()  # (hidden, steps)
        self.llama.lm_head.weight.zero_()
        for token in set(targets):
            wanted = torch.tensor([20.0 * (token == target) for target in targets])
            self.llama.lm_head.weight[token] = inverse @ wanted

    def save_lm_head(self) -> None:
        self.weights["lm_head.weight"] = self.llama.lm_head.weight.detach().clone()
        torch.save(self.weights, self.folder / "pytorch_model.bin")
