"""The LISA network: CLIP and LLaMA read image and words, `[SEG]` states prompt SAM.

Lai et al., "LISA: Reasoning Segmentation via Large Language Model", CVPR 2024, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import LlamaForCausalLM

from lisa_ros.model.clip import ClipTower, build_projector
from lisa_ros.model.config import LisaConfig
from lisa_ros.model.cuda_graphs import GraphedFunction
from lisa_ros.model.preprocessing import (
    MaskGeometry,
    check_image,
    clip_input,
    image_tensor,
    language_view,
    sam_input,
)
from lisa_ros.model.sam import Sam
from lisa_ros.model.timing import StageTimer
from lisa_ros.model.tokenizer import IMAGE_TOKEN_INDEX, LisaTokenizer


@dataclass(frozen=True)
class Beginning:
    """What the language model keeps of the words before an image and of the image.

    Attributes:
        ids: up to and with the image.
        keys_values: (layers, 2, heads, P, head_dim), keys first; P = len(ids) - 1 +
            num_image_tokens.
        mask: (1, P) bool, or None where every position counts.
    """

    ids: tuple[int, ...]
    keys_values: torch.Tensor
    mask: torch.Tensor | None

    @property
    def length(self) -> int:
        """P, its positions."""
        return self.keys_values.shape[3]


@dataclass
class ImageFeatures:
    """All that the network needs of one image; computed once, used for every question about it.

    Attributes:
        encode_clip: computes `image_tokens`; not called before the first question.
        sam_embedding: (1, prompt_embed_dim, g, g) of SAM's image encoder.  On CUDA it may still
            be under way on its own stream: read it through `wait_for_sam`.
        geometry: how SAM's square lies on the image.
        language_view: box (x0, y0, x1, y1) of the image that the language model sees.
        timer: times of the stages that made the features.
        sam_ready: on CUDA, tells that `sam_embedding` is there.
        beginning: of the prompts about the image, once a decoder has read it.
    """

    encode_clip: Callable[[], torch.Tensor]
    sam_embedding: torch.Tensor
    geometry: MaskGeometry
    language_view: tuple[int, int, int, int]
    timer: StageTimer
    sam_ready: torch.cuda.Event | None = None
    beginning: Beginning | None = None

    @cached_property
    def image_tokens(self) -> torch.Tensor:
        """(1, num_image_tokens, hidden) CLIP features in the language model's space."""
        return self.encode_clip()

    def wait_for_sam(self) -> torch.Tensor:
        """The SAM embedding, safe to use on the current stream."""
        if self.sam_ready is not None:
            stream = torch.cuda.current_stream(self.sam_embedding.device)
            stream.wait_event(self.sam_ready)
            self.sam_embedding.record_stream(stream)
        return self.sam_embedding


@dataclass
class Sequences:
    """A batch of what the language model reads at once.

    Attributes:
        embeddings: (B, T, hidden).
        attention_mask: (B, T) bool, or None where every position counts; (B, 1, T, T) where it
            depends on the position that looks.  In place of the last T it is P + T, or the room of
            a cache, where P positions have been read before.
        position_ids: (B, T) int64.
    """

    embeddings: torch.Tensor
    attention_mask: torch.Tensor | None
    position_ids: torch.Tensor


@dataclass
class LisaOutput:
    """What `Lisa.forward` gives for B rows of words whose answers are known.

    Attributes:
        hidden_states: (B, T, hidden) after the language model's final norm.
        seg_embeddings: for each row the prompts for SAM, (n, out_dim), n >= 0.
        lm_head: from states to logits.
    """

    hidden_states: torch.Tensor
    seg_embeddings: list[torch.Tensor]
    lm_head: Callable[[torch.Tensor], torch.Tensor]

    @cached_property
    def logits(self) -> torch.Tensor:
        """(B, T, vocab) of all positions; training needs those of the answers alone."""
        return self.lm_head(self.hidden_states)


class Lisa(nn.Module):
    """CLIP tower, projector, LLaMA, `[SEG]` projection and SAM.

    Build it with `lisa_ros.model.load`, which also fills in the weights.
    """

    def __init__(self, config: LisaConfig, tokenizer: LisaTokenizer) -> None:
        super().__init__()
        hidden = config.llama.hidden_size
        self.config = config
        self.tokenizer = tokenizer
        self.language_model = LlamaForCausalLM(config.llama)
        self.vision_tower = ClipTower(config)
        self.mm_projector = build_projector(config.projector, config.clip.hidden_size, hidden)
        self.text_hidden_fcs = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.out_dim)
        )
        self.visual_model = Sam(config.sam)
        self.use_cuda_graphs = True  # on CUDA only; results are the same without, and slower
        self._sam_stream: torch.cuda.Stream | None = None
        self._encoder_graph = GraphedFunction(lambda x: (self.visual_model.image_encoder(x),))
        self._clip_graph = GraphedFunction(lambda x: (self._project_clip(x),))
        self._mask_graph = GraphedFunction(self.visual_model.decode)
        self.decoder_graphs: dict[int, Any] = {}  # batch size -> graphs

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.model.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of everything that is not quantised."""
        return self.language_model.model.norm.weight.dtype

    @property
    def has_cuda_graphs(self) -> bool:
        """Whether answers run as captured CUDA graphs."""
        return self.use_cuda_graphs and self.device.type == "cuda"

    @torch.inference_mode()
    def encode_image(self, image: np.ndarray) -> ImageFeatures:
        """Run SAM's encoder on one image, and get ready to run CLIP with the first question.

        On CUDA the encoder goes on its own stream, beside whatever the language model does next.

        Args:
            image: RGB uint8 (H, W, 3).

        Raises:
            ImageError: the image is not of that form.
        """
        check_image(image)
        config, timer = self.config, StageTimer(self.device)
        height, width = image.shape[:2]
        with timer.stage("preprocess"):
            # A copy: the caller may use the array again before the first question.
            image_pixels = image_tensor(image, self.device)
            sam_pixels, geometry = sam_input(image_pixels, config.sam.image_size)
            sam_pixels = sam_pixels[None].to(self.dtype)
        sam_ready = None
        if self.device.type == "cuda":
            sam_embedding, sam_ready = self._encode_on_sam_stream(sam_pixels, timer)
        else:
            with timer.stage("sam_encoder"):
                sam_embedding = self.visual_model.image_encoder(sam_pixels)
        view = language_view(height, width, config.clip_preprocessing, config.clip_view)

        @torch.inference_mode()
        def encode_clip() -> torch.Tensor:
            with timer.stage("preprocess"):
                pixels = clip_input(image_pixels, config.clip_preprocessing, config.clip_view)
            with timer.stage("clip"):
                return self.encode_clip(pixels[None].to(self.dtype))

        return ImageFeatures(encode_clip, sam_embedding, geometry, view, timer, sam_ready)

    def _encode_on_sam_stream(
        self, pixels: torch.Tensor, timer: StageTimer
    ) -> tuple[torch.Tensor, torch.cuda.Event]:
        if self._sam_stream is None:
            self._sam_stream = torch.cuda.Stream(self.device)
        self._sam_stream.wait_stream(torch.cuda.current_stream(self.device))
        pixels.record_stream(self._sam_stream)
        with torch.cuda.stream(self._sam_stream):
            with timer.stage("sam_encoder"):
                if self._graphs_apply(pixels):
                    embedding = self._encoder_graph(pixels)[0].clone()
                else:
                    embedding = self.visual_model.image_encoder(pixels)
            ready = torch.cuda.Event()
            ready.record()
        return embedding, ready

    def encode_clip(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) CLIP input to (B, num_image_tokens, hidden) tokens of the language model."""
        if self._graphs_apply(pixel_values):
            return self._clip_graph(pixel_values)[0].clone()
        return self._project_clip(pixel_values)

    def _graphs_apply(self, tensor: torch.Tensor) -> bool:
        return self.use_cuda_graphs and tensor.is_cuda and not torch.is_grad_enabled()

    def _project_clip(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.mm_projector(self.vision_tower(pixel_values))

    def embed(self, prompts: Sequence[Sequence[int]], image_tokens: torch.Tensor) -> Sequences:
        """Put the image features in the place of the image in each prompt, and pad behind.

        Args:
            prompts: ids, each with exactly one `IMAGE_TOKEN_INDEX`.
            image_tokens: (1 or B, num_image_tokens, hidden).
        """
        count = image_tokens.shape[1]
        length = max(map(len, prompts)) + count - 1
        ids = np.zeros((len(prompts), length), np.int64)
        is_image = np.zeros_like(ids, dtype=bool)
        mask = np.zeros_like(is_image)
        for row, prompt in enumerate(prompts):
            words, at = np.asarray(prompt), list(prompt).index(IMAGE_TOKEN_INDEX)
            end = len(prompt) + count - 1
            ids[row, :at] = words[:at]
            ids[row, at + count : end] = words[at + 1 :]
            is_image[row, at : at + count] = True
            # Published quirk: <unk> is also the padding id, so attention passes over it; and the
            # mask of the ids is shifted behind count - 1 ones instead of being opened at the image.
            mask[row, : count - 1] = True
            mask[row, count - 1 : end] = words != self.tokenizer.unk_id
        embeddings = self.language_model.model.embed_tokens(self.put(ids))  # (B, T, hidden)
        image_tokens = image_tokens.to(embeddings.dtype).expand(len(prompts), -1, -1)
        embeddings = embeddings.masked_scatter(self.put(is_image)[..., None], image_tokens)
        return Sequences(
            embeddings,
            None if mask.all() else self.put(mask),
            torch.arange(length, device=self.device).expand(len(prompts), -1),
        )

    def put(self, array: np.ndarray) -> torch.Tensor:
        """An array on the model's device."""
        return torch.from_numpy(array).to(self.device)

    def forward(
        self,
        conversations: Sequence[Sequence[int]],
        image_tokens: torch.Tensor,
        branches: Sequence[Sequence[int]] | None = None,
    ) -> LisaOutput:
        """Read whole conversations (teacher forcing), as training and `forced` evaluation do.

        Args:
            conversations: ids of B conversations, answers included.
            image_tokens: (1 or B, num_image_tokens, hidden) of `encode_clip`.
            branches: where a row holds several conversations about its image, for each id the
                conversation that it belongs to, 1, 2, ..., and 0 for the beginning that they
                share, up to the image.  The results are those of reading each by itself.
        """
        sequences = self.embed(conversations, image_tokens)
        if branches is not None:
            sequences = self._branch(sequences, branches, image_tokens.shape[1])
        hidden = self.language_model.model(
            inputs_embeds=sequences.embeddings,
            attention_mask=sequences.attention_mask,
            position_ids=sequences.position_ids,
            use_cache=False,
        ).last_hidden_state  # (B, T, hidden)
        # The state that predicts [SEG] stands one position before it.
        shift = image_tokens.shape[1] - 2
        at = [
            [j + shift for j, token in enumerate(ids) if token == self.tokenizer.seg_id and j > 0]
            for ids in conversations
        ]
        counts = [len(positions) for positions in at]
        rows = self.put(np.repeat(np.arange(len(at)), counts))
        columns = self.put(np.array([j for positions in at for j in positions], np.int64))
        seg_embeddings = self.seg_embedding(hidden[rows, columns]).split(counts)
        return LisaOutput(hidden, list(seg_embeddings), self.language_model.lm_head)

    def _branch(
        self, sequences: Sequences, branches: Sequence[Sequence[int]], count: int
    ) -> Sequences:
        """Hide the conversations of a row from each other, and let all begin at the image."""
        size, length = sequences.embeddings.shape[:2]
        branch = np.full((size, length), -1)  # -1: padding
        position_ids = np.zeros((size, length), np.int64)
        for row, of_id in enumerate(branches):
            end = len(of_id) + count - 1
            shared = end - sum(k > 0 for k in of_id)
            branch[row, :shared] = 0
            branch[row, shared:end] = of_id[len(of_id) - (end - shared) :]
            position_ids[row] = np.arange(length)
            for k in range(1, max(of_id) + 1):
                (at,) = np.nonzero(branch[row] == k)
                position_ids[row, at] = shared + np.arange(len(at))
        of_key, of_query = branch[:, None, :], branch[:, :, None]
        mask = self.put(np.tril((of_key == of_query) | (of_key == 0)))
        if sequences.attention_mask is not None:
            # Padding looks at padding, since attention to nothing would be NaN.
            mask = mask & (sequences.attention_mask[:, None, :] | self.put(of_query == -1))
        return Sequences(sequences.embeddings, mask[:, None], self.put(position_ids))

    def seg_embedding(self, states: torch.Tensor) -> torch.Tensor:
        """States (n, hidden) that predict `[SEG]` to prompts (n, out_dim) for SAM."""
        return cast(torch.Tensor, self.text_hidden_fcs(states.to(self.dtype)))

    def decode_masks(
        self,
        features: ImageFeatures,
        prompts: torch.Tensor,
        mask_prompts: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Masks for `[SEG]` embeddings, which may come from another view of the scene.

        Args:
            features: of the image to segment.
            prompts: (n, out_dim).
            mask_prompts: (n, s, s) logits to begin with; see `Sam.decode`.

        Returns:
            Low-resolution logits (n, s, s), SAM's IoU estimates (n,) and object scores (n,); see
            `Sam.decode`.
        """
        embedding = features.wait_for_sam()
        if self._graphs_apply(embedding) and len(prompts) == 1 and mask_prompts is None:
            masks, predicted_iou, object_score = self._mask_graph(embedding, prompts)
            return masks.clone(), predicted_iou.clone(), object_score.clone()
        return self.visual_model.decode(embedding, prompts, mask_prompts)
