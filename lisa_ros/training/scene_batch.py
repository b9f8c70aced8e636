"""From rendered scenes to batches: questions are put as users put them, pictures are varied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from lisa_ros.model.config import LisaConfig
from lisa_ros.model.conversation import INSTRUCTION_TEMPLATES, SEG, Turn
from lisa_ros.model.preprocessing import SAM_PIXEL_MEAN, SAM_PIXEL_STD, MaskGeometry
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.sim.instructions import Question
from lisa_ros.training.batch import Batch, Conversation
from lisa_ros.training.losses import IGNORE
from lisa_ros.training.scene_set import Example

# Share of the questions for one thing, and of the wrong answers, where the answer "[SEG]." is put
# into the model's mouth.
_FORCED_SHARE = 0.2
# Kinds of questions that are learned slowly are asked more often, by this factor.
_SLOW_KINDS = {"spatial": 2.0, "relation": 2.0, "size": 1.5}

# Share of the pictures whose things are put somewhere else.
_ELSEWHERE_SHARE = 0.25


@dataclass(frozen=True)
class SceneBatch:
    """Scenes of one size on the host.

    Attributes:
        rgb: uint8 (B, H, W, 3).
        ids: uint8 (B, H, W).
        conversations, image_index: as in `Batch`.
        asked: for each conversation the instances that it asks for, none of them for what is not
            there; None where words are the answer, and for wrong answers.
        absent: as in `Batch`: conversations whose answer wrongly finds what is not there.
        classes, colours: int64 (B, 256), a class or colour by instance; 0 for the background and
            for a colour without a name, 1 + index of the name otherwise.
    """

    rgb: torch.Tensor
    ids: torch.Tensor
    conversations: list[Conversation]
    image_index: list[int]
    asked: list[tuple[int, ...] | None]
    absent: list[int]
    classes: torch.Tensor
    colours: torch.Tensor


def make_scene_batch(
    examples: Sequence[Example],
    tokenizer: LisaTokenizer,
    config: LisaConfig,
    rng: np.random.Generator,
    *,
    questions: int,
    class_names: Sequence[str],
    colour_names: Sequence[str],
) -> SceneBatch:
    """Draw some questions about each scene and encode them."""
    conversations: list[Conversation] = []
    image_index: list[int] = []
    asked: list[tuple[int, ...] | None] = []
    absent: list[int] = []
    classes = torch.zeros(len(examples), 256, dtype=torch.int64)
    colours = torch.zeros_like(classes)
    for i, example in enumerate(examples):
        for question in _drawn(example.questions, questions, rng):
            for dialogue in _dialogues(question, rng):
                if dialogue.is_wrong:
                    absent.append(len(conversations))
                conversations.append(dialogue.encode(tokenizer, config))
                image_index.append(i)
                asked.append(dialogue.asked)
        for instance, name in example.classes.items():
            colour = example.colours[instance]
            classes[i, instance] = 1 + class_names.index(name)
            colours[i, instance] = 0 if colour is None else 1 + colour_names.index(colour)
    return SceneBatch(
        torch.from_numpy(np.stack([example.rgb for example in examples])),
        torch.from_numpy(np.stack([example.ids for example in examples])),
        conversations,
        image_index,
        asked,
        absent,
        classes,
        colours,
    )


@dataclass(frozen=True)
class _Dialogue:
    """A question with an answer of which the words are learned, or only what SAM makes of it."""

    turn: Turn
    asked: tuple[int, ...] | None
    is_learned: bool = True
    is_wrong: bool = False

    def encode(self, tokenizer: LisaTokenizer, config: LisaConfig) -> Conversation:
        conversation = Conversation.encode(
            tokenizer,
            [self.turn],
            template=config.conversation,
            use_im_start_end=config.use_im_start_end,
        )
        if self.is_learned:
            return conversation
        return replace(conversation, labels=(IGNORE,) * len(conversation.ids))


def _drawn(
    questions: Sequence[Question], count: int, rng: np.random.Generator
) -> Iterator[Question]:
    """Up to `count` different questions."""
    if not questions:
        return
    shares = np.array([_SLOW_KINDS.get(question.kind, 1.0) for question in questions])
    count = min(count, len(questions))
    for k in rng.choice(len(questions), count, replace=False, p=shares / shares.sum()):
        yield questions[k]


def _dialogues(question: Question, rng: np.random.Generator) -> Iterator[_Dialogue]:
    """A question with its answer; behind a refusal also with one that wrongly finds something."""
    turn = as_turn(question, rng)
    asked = tuple(question.targets) if question.wants_mask else None
    if len(question.targets) == 1 and rng.random() < _FORCED_SHARE:
        yield _Dialogue(replace(turn, answer=f"{SEG}."), asked, is_learned=False)
        return
    yield _Dialogue(turn, asked)
    if asked == ():
        # In the words of a right answer: from others a model would learn to doubt the words.
        answer = f"{SEG}." if rng.random() < _FORCED_SHARE else question.wrong_answer
        yield _Dialogue(replace(turn, answer=answer), None, is_learned=False, is_wrong=True)


def as_turn(question: Question, rng: np.random.Generator) -> Turn:
    """A question in one of the forms that the package offers, and its answer.

    An explanation is given where it is asked for; a refusal explains itself always, since it is
    short.  A question that words answer is put as it is.
    """
    if not question.wants_mask:
        return Turn(question.instruction, question.answer)
    template = ("mask", "explain", "explain", "raw")[rng.integers(4)]
    answer = question.answer
    if question.explanation and (template == "explain" or not question.targets):
        answer = f"{answer} {question.explanation}"
    return Turn(INSTRUCTION_TEMPLATES[template].format(question.instruction), answer)


def crowd(scenes: SceneBatch, rng: np.random.Generator, *, layers: int) -> SceneBatch:
    """Lay things of further scenes over each picture, moved, scaled, stretched and
    mirrored.

    Most of a rendered picture is table; an encoder learns more from one that is full of things
    (Ghiasi et al., Simple Copy-Paste, 2021).

    Args:
        scenes: n * (1 + layers) without conversations.

    Returns:
        The first n, with things of the others, of each with a probability of 2/3.
    """
    count = len(scenes.rgb) // (1 + layers)
    rgb, ids = scenes.rgb.numpy(), scenes.ids.numpy()
    rgb_out, ids_out = rgb[:count].copy(), ids[:count].copy()
    classes, colours = scenes.classes[:count].clone(), scenes.colours[:count].clone()
    height, width = ids.shape[1:]
    step = 256 // (1 + layers)  # instances of a layer are numbered from a multiple of it
    for source in range(count, len(rgb)):
        layer, i = divmod(source, count)
        if rng.random() < 1 / 3:
            continue
        scale, stretch = rng.uniform(0.6, 1.4), np.exp(rng.uniform(-0.25, 0.25))
        rows = _moved(height, scale / stretch, rng.uniform(-0.3, 0.3))
        columns = _moved(width, scale * stretch * rng.choice((-1, 1)), rng.uniform(-0.3, 0.3))
        pasted = np.pad(ids[source], 1)[np.ix_(rows, columns)]
        y, x = np.nonzero((pasted > 0) & (pasted < step))
        rgb_out[i, y, x] = rgb[source, rows[y] - 1, columns[x] - 1]
        ids_out[i, y, x] = pasted[y, x] + layer * step
        own = slice(layer * step, (layer + 1) * step)
        classes[i, own] = scenes.classes[source, :step]
        colours[i, own] = scenes.colours[source, :step]
    return replace(
        scenes,
        rgb=torch.from_numpy(rgb_out),
        ids=torch.from_numpy(ids_out),
        classes=classes,
        colours=colours,
    )


def _moved(size: int, scale: float, shift: float) -> np.ndarray:
    """Where in a source with a margin of 1 each of `size` positions lies; a negative scale mirrors.

    What lies outside the source is put on its margin.
    """
    middle = (size - 1) / 2
    at = np.rint((np.arange(size) - middle - shift * size) / scale + middle)
    return at.clip(-1, size).astype(np.int64) + 1


def to_device(
    scenes: SceneBatch, config: LisaConfig, device: torch.device, *, varied: bool
) -> Batch:
    """What the network reads.

    Args:
        varied: change light, colour balance, sharpness and noise of each picture at random, and
            what is behind the things of some.
    """
    pixels = scenes.rgb.to(device).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
    ids = scenes.ids.to(device)
    if varied:
        elsewhere = torch.rand(len(ids), 1, 1, 1, device=device) < _ELSEWHERE_SHARE
        pixels = torch.where(elsewhere & (ids[:, None] == 0), mottled(pixels), pixels)
        pixels = vary(pixels)
    sam_pixels, geometry = _sam_pixels(pixels, config.sam.image_size)
    targets: list[list[int]] = [[] for _ in ids]
    for i, instances in zip(scenes.image_index, scenes.asked, strict=True):
        targets[i] += instances or ()
    masks = [
        ids[i] == torch.tensor(target, dtype=torch.uint8, device=device)[:, None, None]
        for i, target in enumerate(targets)
    ]
    return Batch(
        sam_pixels=sam_pixels,
        clip_pixels=_clip_pixels(pixels, config),
        geometry=[geometry] * len(pixels),
        conversations=scenes.conversations,
        image_index=scenes.image_index,
        masks=masks,
        absent=scenes.absent,
    )


def mottled(like: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) of grounds that no table of the simulator is: gravel, grass, cloth.

    A pattern about one colour.
    """
    count = len(like)
    pattern = _pattern(like)
    grey = like.new_empty(count, 1, 1, 1).uniform_(0.2, 0.8)
    colour = grey + like.new_empty(count, 3, 1, 1).uniform_(-0.2, 0.2)
    contrast = like.new_empty(count, 1, 1, 1).uniform_(0.05, 0.35)
    return (colour * (1 + contrast * pattern)).clamp(0, 1)


def _pattern(like: torch.Tensor) -> torch.Tensor:
    """Noise (B, 1, H, W) of six sizes, mostly coarse, mostly fine or even; of deviation 1."""
    count, _, *size = like.shape
    roughness = like.new_empty(count, 1, 1, 1).uniform_(0.5, 1.5)
    pattern = torch.zeros_like(like[:, :1])
    for octave in range(6):
        coarse = like.new_empty(count, 1, 3 << octave, 4 << octave).uniform_(-1, 1)
        pattern += roughness**octave * F.interpolate(coarse, size, mode="bilinear")
    return pattern / pattern.std(dim=(2, 3), keepdim=True)


def vary(pixels: torch.Tensor) -> torch.Tensor:
    """Random light, white balance, saturation, sharpness and noise; colours keep their names.

    Args:
        pixels: (B, 3, H, W) in 0 to 1.
    """
    count = len(pixels)

    def draw(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return torch.empty(count, channels, 1, 1, device=pixels.device).uniform_(low, high)

    pixels = pixels.clamp(min=1e-4) ** draw(0.7, 1.4)
    # Light from one side, shade on the other, and a grain that rendered surfaces lack.
    pixels = pixels * torch.exp(_pattern(pixels) * draw(0.0, 0.4))
    pixels = pixels * draw(0.75, 1.25) * draw(0.92, 1.08, channels=3)
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + (pixels - grey) * draw(0.7, 1.3)
    pixels = (pixels - 0.5) * draw(0.8, 1.2) + 0.5
    soft = F.avg_pool2d(pixels, 3, stride=1, padding=1, count_include_pad=False)
    pixels = torch.lerp(pixels, soft, draw(-0.3, 1.0))
    noise = torch.randn_like(pixels[:1])  # one for all, more or less of it
    return (pixels + noise * draw(0.0, 0.04)).clamp(0, 1)


def _sam_pixels(pixels: torch.Tensor, square: int) -> tuple[torch.Tensor, MaskGeometry]:
    height, width = pixels.shape[-2:]
    scale = square / max(height, width)
    resized = int(height * scale + 0.5), int(width * scale + 0.5)
    if resized != (height, width):
        pixels = F.interpolate(pixels, resized, mode="bilinear", antialias=True)
    mean = pixels.new_tensor(SAM_PIXEL_MEAN).view(3, 1, 1) / 255
    std = pixels.new_tensor(SAM_PIXEL_STD).view(3, 1, 1) / 255
    padding = (0, square - resized[1], 0, square - resized[0])
    return F.pad((pixels - mean) / std, padding), MaskGeometry((height, width), resized, square)


def _clip_pixels(pixels: torch.Tensor, config: LisaConfig) -> torch.Tensor:
    """As `clip_input` with the view `pad`: the whole picture in the middle of a square."""
    height, width = pixels.shape[-2:]
    size = config.clip_preprocessing.crop_size
    scale = size / max(height, width)
    resized = round(height * scale), round(width * scale)
    pixels = F.interpolate(pixels, resized, mode="bicubic", antialias=True).clamp(0, 1)
    mean = pixels.new_tensor(config.clip_preprocessing.image_mean).view(3, 1, 1)
    std = pixels.new_tensor(config.clip_preprocessing.image_std).view(3, 1, 1)
    top, left = (size - resized[0]) // 2, (size - resized[1]) // 2
    # The mean colour is 0 after normalising.
    return F.pad(
        (pixels - mean) / std, (left, size - resized[1] - left, top, size - resized[0] - top)
    )
