"""The sizes and conventions of one LISA model, read from its folder.

Nothing here is hard-coded to the published sizes.  The language model's sizes come from the
`config.json` of the official layout, CLIP's from the config of the vision tower, SAM's from the
shapes of the weights (`SamConfig.from_shapes`) or from a file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPVisionConfig, LlamaConfig

from lisa_ros.model.conv_stem import patch_sizes
from lisa_ros.model.conversation import CONVERSATIONS, INSTRUCTION_TEMPLATES
from lisa_ros.model.errors import CheckpointError

ClipView = Literal["crop", "pad", "squash"]

OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# What libraries raise where a value is of the wrong type or makes no sense.
_WRONG_VALUE = (
    *(TypeError, ValueError, KeyError, AttributeError, AssertionError, ArithmeticError),
    StrictDataclassError,  # transformers' configs
)

# The keys of config.json that describe the LLaMA decoder and are passed on to transformers.
_LLAMA_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "attention_bias",
    "mlp_bias",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
)


@dataclass(frozen=True)
class SamConfig:
    """Sizes of SAM's image encoder (ViT), prompt encoder and mask decoder.

    The defaults are ViT-H, the encoder of the published models.  `image_size` is the side of the
    square input; the embedding has `image_size / patch_size` cells a side, the low-resolution
    masks four times as many.
    """

    image_size: int = 1024
    patch_size: int = 16
    embed_dim: int = 1280
    depth: int = 32
    num_heads: int = 16
    mlp_dim: int = 5120
    global_attn_indexes: tuple[int, ...] = (7, 15, 23, 31)
    window_size: int = 14
    prompt_embed_dim: int = 256
    mask_in_chans: int = 16
    decoder_depth: int = 2
    decoder_mlp_dim: int = 2048
    decoder_num_heads: int = 8  # the only size that no weight shape tells
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    # Aids to small models; the published ones have none.
    similarity_prompt: bool = False
    iou_sigmoid: bool = False  # the IoU head gives logits, as SAM 2's
    object_score: bool = False  # a head tells whether what is asked for is in view, as SAM 2's
    conv_stem: tuple[int, ...] = ()  # widths of convolutions in place of the patch embedding

    @property
    def grid_size(self) -> int:
        """Cells a side of the image embedding."""
        return self.image_size // self.patch_size

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], **known: Any) -> SamConfig:
        """Read the sizes off the shapes of SAM's weights.

        Args:
            shapes: weight name without prefix (`image_encoder.pos_embed`, ...) to shape.
            known: sizes that are given (from a config file) and win over what is read.

        Raises:
            CheckpointError: a weight that tells a size is absent, or of a shape that cannot be.
        """
        encoder, decoder = "image_encoder.", "mask_decoder."
        layers, iou_head = decoder + "transformer.layers.", decoder + "iou_prediction_head.layers."

        def shape(name: str, rank: int) -> tuple[int, ...]:
            if name not in shapes:
                raise CheckpointError(
                    f"the checkpoint has no SAM weight {name}; expected the whole visual_model of "
                    "a merged LISA checkpoint"
                )
            if len(shapes[name]) != rank:
                raise CheckpointError(
                    f"SAM's weight {name}: expected {rank} dimensions, got shape {shapes[name]}"
                )
            return shapes[name]

        def width(layer: str) -> int:
            """Outputs of a layer, which its weight and its bias tell."""
            rows = shapes[layer + ".weight"][:1] if layer + ".weight" in shapes else ()
            bias = shape(layer + ".bias", 1)
            if rows and rows != bias:
                raise CheckpointError(
                    f"SAM's weights {layer}.weight of shape {shapes[layer + '.weight']} and "
                    f"{layer}.bias of shape {bias} do not fit each other"
                )
            return bias[0]

        _, grid, columns, embed_dim = shape(encoder + "pos_embed", 4)
        if grid != columns:
            raise CheckpointError(f"SAM's {encoder}pos_embed is no square: {grid} x {columns}")
        conv_stem = known.get("conv_stem", ())
        patch_size = (
            patch_sizes(conv_stem)[0]
            if conv_stem
            else shape(encoder + "patch_embed.proj.weight", 4)[-1]
        )
        depth = _count(shapes, encoder + "blocks.")
        # rel_pos_h is (2 * side - 1, head_dim): windowed blocks have a short side.
        rel_pos = [shape(f"{encoder}blocks.{i}.attn.rel_pos_h", 2) for i in range(depth)]
        sides = [(rows + 1) // 2 for rows, _ in rel_pos]
        window_sizes = [side for side in sides if side != grid]
        mask_tokens, prompt_embed_dim = shape(decoder + "mask_tokens.weight", 2)
        outputs = _count(shapes, decoder + "output_hypernetworks_mlps.")
        if mask_tokens != outputs:
            raise CheckpointError(
                f"SAM's {decoder}mask_tokens.weight has {mask_tokens} rows, expected {outputs}, "
                "one for each of output_hypernetworks_mlps"
            )
        sizes: dict[str, Any] = {
            "image_size": grid * patch_size,
            "patch_size": patch_size,
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": embed_dim // rel_pos[0][1],
            "mlp_dim": width(encoder + "blocks.0.mlp.lin1"),
            "global_attn_indexes": tuple(i for i, side in enumerate(sides) if side == grid),
            "window_size": window_sizes[0] if window_sizes else cls.window_size,
            "prompt_embed_dim": prompt_embed_dim,
            "mask_in_chans": width("prompt_encoder.mask_downscaling.3"),
            "decoder_depth": _count(shapes, layers),
            "decoder_mlp_dim": width(layers + "0.mlp.lin1"),
            "num_multimask_outputs": mask_tokens - 1,
            "iou_head_depth": _count(shapes, iou_head),
            "iou_head_hidden_dim": width(iou_head + "0"),
            "similarity_prompt": "similarity_prompt.value.weight" in shapes,
            "object_score": decoder + "object_score_head.layers.0.weight" in shapes,
        }
        return cls(**{**sizes, **known})

    @classmethod
    def known_sizes(cls, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """The entries of a SAM config file, checked against the field names."""
        names = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise CheckpointError(
                f"{source}: unknown SAM sizes {', '.join(unknown)}; known are "
                f"{', '.join(sorted(names))}"
            )
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }


# The steps that are always taken; 3 is bicubic.
_CLIP_STEPS = {
    "do_resize": True,
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "resample": 3,
    "rescale_factor": 1 / 255,
}


@dataclass(frozen=True)
class ClipPreprocessing:
    """How an image becomes the vision tower's input (`preprocessor_config.json`)."""

    shortest_edge: int = 224
    crop_size: int = 224
    image_mean: tuple[float, float, float] = OPENAI_CLIP_MEAN
    image_std: tuple[float, float, float] = OPENAI_CLIP_STD

    def __post_init__(self) -> None:
        for name, size in (("shortest_edge", self.shortest_edge), ("crop_size", self.crop_size)):
            if not isinstance(size, int) or size < 1:
                raise CheckpointError(f"CLIP's {name}: expected a number of pixels, got {size!r}")
        if self.shortest_edge < self.crop_size:
            raise CheckpointError(
                f"CLIP's crop of {self.crop_size} pixels is larger than the picture, whose short "
                f"edge has {self.shortest_edge}"
            )
        for name, values in (("image_mean", self.image_mean), ("image_std", self.image_std)):
            if len(values) != 3 or not all(isinstance(value, int | float) for value in values):
                raise CheckpointError(f"CLIP's {name}: expected three numbers, got {values!r}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any], image_size: int) -> ClipPreprocessing:
        """Both the old (`"size": 224`) and the new (`{"shortest_edge": 224}`) form.

        Args:
            image_size: side of the tower's input, which counts where a size is absent.
        """
        for name, expected in _CLIP_STEPS.items():
            got = values.get(name, expected)
            if got is not None and not math.isclose(got, expected, rel_tol=1e-6):
                raise CheckpointError(
                    f"CLIP's {name}: expected {expected} in preprocessor_config.json, as for all "
                    f"of OpenAI's towers, got {got}; other preprocessing is not offered"
                )
        crop = values.get("crop_size", image_size)
        crop = crop["height"] if isinstance(crop, Mapping) else crop
        size = values.get("size", crop)
        size = size.get("shortest_edge", crop) if isinstance(size, Mapping) else size
        return cls(
            shortest_edge=size,
            crop_size=crop,
            image_mean=tuple(values.get("image_mean", cls.image_mean)),
            image_std=tuple(values.get("image_std", cls.image_std)),
        )


@dataclass(frozen=True)
class LisaConfig:
    """Everything but the weights and the vocabulary."""

    llama: LlamaConfig
    clip: CLIPVisionConfig
    sam: SamConfig = field(default_factory=SamConfig)
    clip_preprocessing: ClipPreprocessing = field(default_factory=ClipPreprocessing)
    out_dim: int = 256  # size of a [SEG] embedding = SAM's prompt_embed_dim
    select_layer: int = -2  # which CLIP hidden state the projector reads
    select_feature: Literal["patch", "cls_patch"] = "patch"
    projector: str = "linear"  # or mlp{N}x_gelu, as in LLaVA-1.5
    use_im_start_end: bool = True  # the prompt holds <im_start><image><im_end>
    clip_view: ClipView = "crop"  # what of a wide picture the language model sees
    clip_conv_stem: tuple[int, ...] = ()  # an aid to small models, as `SamConfig.conv_stem`
    # Masks with a lower object score count as empty.  The published models give none, so for them
    # it is None, which keeps every mask.
    min_object_score: float | None = None
    conversation: str = "llava_v1"
    default_template: str = "explain"  # what turns an instruction into a question

    def __post_init__(self) -> None:
        _one_of("clip_view", self.clip_view, ("crop", "pad", "squash"))
        _one_of("conversation", self.conversation, tuple(CONVERSATIONS))
        _one_of("default_template", self.default_template, tuple(INSTRUCTION_TEMPLATES))
        _one_of("mm_vision_select_feature", self.select_feature, ("patch", "cls_patch"))
        if self.out_dim != self.sam.prompt_embed_dim:
            raise CheckpointError(
                f"a [SEG] embedding has {self.out_dim} channels (out_dim) but SAM's prompts have "
                f"{self.sam.prompt_embed_dim}"
            )
        for name, stem, patch in (
            ("clip_conv_stem", self.clip_conv_stem, self.clip.patch_size),
            ("sam_config.conv_stem", self.sam.conv_stem, self.sam.patch_size),
        ):
            if stem and patch not in patch_sizes(stem):
                possible = " or ".join(map(str, patch_sizes(stem)))
                raise CheckpointError(
                    f"{name}: {len(stem)} widths make patches of {possible} pixels, "
                    f"expected {patch}"
                )
        least = self.min_object_score
        is_number = isinstance(least, int | float) and not isinstance(least, bool)
        if least is not None and not (is_number and 0 <= least <= 1):
            raise CheckpointError(f"min_object_score: expected null or 0 to 1, got {least!r}")
        if least is not None and not self.sam.object_score:
            raise CheckpointError(
                f"min_object_score is {least}, but the mask decoder has no object score; expected "
                "null, or a model with sam_config.object_score"
            )
        crop, side = self.clip_preprocessing.crop_size, self.clip.image_size
        if crop != side:
            raise CheckpointError(
                f"the vision tower takes pictures of {side} pixels a side, but its "
                f"preprocessor_config.json makes {crop}; the two are of different towers"
            )
        if not isinstance(self.use_im_start_end, bool):
            raise CheckpointError(
                f"mm_use_im_start_end: expected true or false, got {self.use_im_start_end!r}"
            )
        if not 0 <= self.num_clip_layers <= self.clip.num_hidden_layers:
            raise CheckpointError(
                f"mm_vision_select_layer {self.select_layer} names no layer of a vision tower with "
                f"{self.clip.num_hidden_layers} layers"
            )

    @property
    def num_clip_layers(self) -> int:
        """Layers of the vision tower that are needed to reach `select_layer`."""
        if self.select_layer >= 0:
            return self.select_layer
        return self.clip.num_hidden_layers + 1 + self.select_layer

    @property
    def num_image_tokens(self) -> int:
        """Positions that the image takes in the language model's sequence."""
        side, patch = cast(int, self.clip.image_size), cast(int, self.clip.patch_size)
        return (side // patch) ** 2 + (self.select_feature == "cls_patch")

    @property
    def context_length(self) -> int:
        """Positions that a prompt and its answer may take together."""
        rope = cast(dict[str, Any], self.llama.rope_parameters)
        longer = rope["factor"] if rope["rope_type"] == "linear" else 1
        return int(longer * self.llama.max_position_embeddings)

    def with_defaults(self, **choices: Any) -> LisaConfig:
        """A copy with every choice that is not None put in place."""
        return replace(self, **{k: v for k, v in choices.items() if v is not None})

    @classmethod
    def from_json(
        cls,
        values: Mapping[str, Any],
        *,
        clip: CLIPVisionConfig,
        clip_preprocessing: ClipPreprocessing,
        sam: SamConfig,
    ) -> LisaConfig:
        """From the `config.json` of an official or converted folder.

        The official files say `"model_type": "llava"`, which names another architecture in
        today's transformers; the keys are therefore read one by one.  `image_aspect_ratio` is
        left unread on purpose: the published inference code ignores it and always crops.  A value
        of null counts as absent.
        """
        values = {key: value for key, value in values.items() if value is not None}
        required = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        missing = [key for key in (*required, "vocab_size") if key not in values]
        if missing:
            raise CheckpointError(
                f"config.json lacks {', '.join(missing)}; expected the config of a LISA or LLaVA "
                "checkpoint"
            )
        return cls(
            llama=_llama_config(values),
            clip=clip,
            sam=sam,
            clip_preprocessing=clip_preprocessing,
            out_dim=values.get("out_dim", cls.out_dim),
            select_layer=values.get("mm_vision_select_layer", cls.select_layer),
            select_feature=values.get("mm_vision_select_feature", cls.select_feature),
            projector=values.get("mm_projector_type", cls.projector),
            use_im_start_end=values.get("mm_use_im_start_end", cls.use_im_start_end),
            clip_view=values.get("clip_view", cls.clip_view),
            clip_conv_stem=tuple(values.get("clip_conv_stem", ())),
            min_object_score=values.get("min_object_score", cls.min_object_score),
            conversation=values.get("conversation", cls.conversation),
            default_template=values.get("default_template", cls.default_template),
        )

    def to_json(self) -> dict[str, Any]:
        """The keys that `from_json` reads, plus the configs of CLIP and SAM."""
        llama = self.llama.to_dict()
        return {
            **{key: llama[key] for key in _LLAMA_KEYS if llama.get(key) is not None},
            "rope_theta": llama["rope_parameters"]["rope_theta"],
            "rope_scaling": _rope_scaling(llama["rope_parameters"]),
            "out_dim": self.out_dim,
            "mm_hidden_size": self.clip.hidden_size,
            "mm_vision_select_layer": self.select_layer,
            "mm_vision_select_feature": self.select_feature,
            "mm_projector_type": self.projector,
            "mm_use_im_start_end": self.use_im_start_end,
            "clip_view": self.clip_view,
            "clip_conv_stem": self.clip_conv_stem,
            "min_object_score": self.min_object_score,
            "conversation": self.conversation,
            "default_template": self.default_template,
            "vision_config": self.clip.to_diff_dict(),
            "clip_preprocessing": asdict(self.clip_preprocessing),
            "sam_config": asdict(self.sam),
        }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, with an error that names the file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


@contextmanager
def values_of(path: Path | str) -> Iterator[None]:
    """What wrong values of a file lead to becomes a CheckpointError that names the file."""
    try:
        yield
    except _WRONG_VALUE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(
            f"{path} holds a value of the wrong type or range ({reason}); expected such as the "
            "published checkpoints have"
        ) from error


def clip_config(values: Mapping[str, Any]) -> CLIPVisionConfig:
    """CLIP's vision sizes from a CLIPModel config (nested) or a CLIPVisionModel config (flat)."""
    vision = dict(values.get("vision_config") or values)
    if "hidden_size" not in vision or "patch_size" not in vision:
        raise CheckpointError(
            "the vision tower's config.json has no hidden_size and patch_size; expected the config "
            "of a CLIP model such as openai/clip-vit-large-patch14"
        )
    known = CLIPVisionConfig().to_dict()
    return CLIPVisionConfig(
        **{key: value for key, value in vision.items() if key in known and key != "model_type"}
    )


def _llama_config(values: Mapping[str, Any]) -> LlamaConfig:
    chosen = {key: values[key] for key in _LLAMA_KEYS if values.get(key) is not None}
    # transformers 5 writes rope_parameters, versions before it rope_theta and rope_scaling.
    parameters = values.get("rope_parameters") or {}
    theta = parameters.get("rope_theta") or values.get("rope_theta") or 10000.0
    rope = {"rope_type": "default", "rope_theta": float(theta)}
    scaling = parameters or values.get("rope_scaling")
    if scaling:
        kind = scaling.get("rope_type") or scaling.get("type")
        if kind is None:
            raise CheckpointError(f"rope_scaling: expected a type, got {scaling!r}")
        rope.update({**scaling, "rope_type": kind, "rope_theta": float(theta)})
        rope.pop("type", None)
    return LlamaConfig(
        **{"tie_word_embeddings": False, "pad_token_id": 0, **chosen},
        rope_parameters=rope,
    )


def _rope_scaling(rope: Mapping[str, Any]) -> dict[str, Any] | None:
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    return None if scaling["rope_type"] == "default" else scaling


def _count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many layers, numbered behind `prefix`, any weight belongs to."""
    layer = re.compile(re.escape(prefix) + r"(\d+)\.")
    count = max((int(found[1]) + 1 for found in map(layer.match, shapes) if found), default=0)
    if count == 0:
        raise CheckpointError(f"the checkpoint has no SAM weights {prefix}*")
    return count


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise CheckpointError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
