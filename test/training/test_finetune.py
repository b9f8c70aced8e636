"""`lisa train`: a whole training on small copies of the data sets, its end, and its errors."""

import errno
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from data_miniatures import (
    LEFT,
    annotation,
    write_grefcoco,
    write_json,
    write_mix665k,
    write_photo,
    write_reason_seg,
    write_refclef,
    write_refcoco,
)
from golden_set import GoldenSet
from semantic_miniature import write_semantic
from small_training import write_start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lisa_ros.cli.main import main
from lisa_ros.data.dialogues import Dialogue
from lisa_ros.data.families import PUBLISHED_SUB_SETS, open_family
from lisa_ros.data.mixture import Item, Mixture
from lisa_ros.data.samples import BadSampleError, Sample
from lisa_ros.evaluation.sources import open_source
from lisa_ros.model import load
from lisa_ros.model.errors import LisaError
from lisa_ros.training import finetune, mixture_batches
from lisa_ros.training.batch import training_losses
from lisa_ros.training.config import (
    ConfigError,
    TrainConfig,
    read_train_config,
    write_train_config,
)
from lisa_ros.training.finetune import Finetune, giou, start_of, train, trainable_model
from lisa_ros.training.loop import BEST_NAME, Loop, LoopSettings, NotFiniteError
from lisa_ros.training.losses import LossWeights
from lisa_ros.training.merge import load_trained, merge, trained_weights
from lisa_ros.training.mixture_batches import (
    FileBatch,
    MixtureBatches,
    make_batch,
    share_of_batches,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory, first_golden: GoldenSet) -> TrainConfig:
    tokenizer = first_golden.lisa / "tokenizer.model"
    return write_start(tmp_path_factory.mktemp("finetune"), tokenizer)


@pytest.fixture(scope="module")
def trained(start) -> Path:
    """The folder of the training, which was started by the command."""
    path = Path(start.run).parent / "train.yaml"
    write_train_config(start, path)
    assert main(["train", str(path)]) == 0
    return Path(start.run)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["module"]


def test_what_a_training_leaves(trained, start):
    assert torch.load(trained / "last.pt", weights_only=True)["step"] == start.steps
    board = EventAccumulator(str(trained)).Reload()
    losses = [board.Scalars(f"loss/{name}") for name in ("ce", "bce", "dice")]
    assert [[event.step for event in values] for values in losses] == [[1, 2, 3, 4]] * 3
    assert all(math.isfinite(event.value) for values in losses for event in values)
    rates = [event.value for event in board.Scalars("learning_rate")]
    assert rates == pytest.approx([1e-4, 2e-4, 3e-4, 1.5e-4])
    scores = board.Scalars("validation/score")
    assert [event.step for event in scores] == [2, 4]
    # The best weights are those of the better epoch.
    model = trainable_model(start_of(start), start, torch.device("cpu")).eval()
    load_trained(model, trained_weights(trained))
    score = giou(model, open_source(start.validation, Path(start.data)), "fp32")
    assert score == pytest.approx(max(event.value for event in scores), abs=1e-6)
    before = trainable_model(start_of(start), start, torch.device("cpu"))
    for name, parameter in Finetune(before).named_parameters():
        if parameter.requires_grad and "mask_decoder" not in name:
            assert not torch.equal(weights_of(trained)[name], parameter), name


def test_the_merged_model_is_the_trained_one(trained, start, tmp_path, picture):
    folder = merge(trained, tmp_path / "merged")
    merged = load(folder, vision_tower=start.vision_tower, device="cpu")
    model = trainable_model(start_of(start), start, torch.device("cpu")).eval()
    load_trained(model, trained_weights(trained))
    source = open_source(start.validation, Path(start.data))
    assert giou(merged, source, "fp32") == pytest.approx(giou(model, source, "fp32"), abs=1e-3)
    item = Item("reason_seg", "x", 0, Sample(Path("x"), picture(40, 60)), ())
    dialogue = Dialogue((("Where is tea?", "It is [SEG]."),), (torch.ones(40, 60).bool().numpy(),))
    batch = make_batch([replace(item, dialogues=(dialogue,))], model.tokenizer, model.config).batch
    with torch.no_grad():
        expected, got = (training_losses(m, batch).named() for m in (model, merged))
    for name, value in expected.items():
        assert got[name].item() == pytest.approx(value.item(), rel=1e-4)


def test_stop_and_go_on_is_going_through(trained, start, tmp_path, monkeypatch):
    # Without scores, which must change nothing.
    config = replace(start, run=str(tmp_path / "run"), save_interval=0.0, validation=None)
    made = mixture_batches.make_batch
    numbers = iter(range(5))

    def power_fails(*arguments) -> FileBatch:
        if next(numbers, None) is None:
            raise KeyboardInterrupt
        return made(*arguments)

    monkeypatch.setattr(mixture_batches, "make_batch", power_fails)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.setattr(mixture_batches, "make_batch", made)
    assert torch.load(tmp_path / "run/last.pt", weights_only=True)["step"] == 2
    train(replace(config, save_interval=60.0))
    went_on, through = weights_of(tmp_path / "run"), weights_of(trained)
    assert went_on.keys() == through.keys()
    for name, tensor in through.items():
        assert torch.equal(went_on[name], tensor), name


def test_quantised_weights_are_not_saved_and_a_training_of_them_goes_on(start, tmp_path):
    pytest.importorskip("bitsandbytes")
    # On a CPU, which `train` refuses for its slowness; nothing else differs.
    config = replace(start, precision="nf4", run=str(tmp_path), save_interval=0.0)
    mixture, _ = finetune._open_data(config, False)

    def loop() -> Loop:
        model = trainable_model(start_of(config), config, torch.device("cpu"))
        stage = Finetune(model, LossWeights(quality=0.0, object_score=0.0))
        return Loop(stage, tmp_path, finetune._loop_settings(config))

    def share(first: int):
        model = first_loop._module.model
        batches = MixtureBatches(mixture, config.micro_batch, model.tokenizer, model.config)
        count = config.steps * config.accumulation
        return share_of_batches(
            batches, first, count, process=0, processes=1, workers=0, left_out=set()
        )

    first_loop = loop()
    first_loop.run(share, "nf4")
    assert not [name for name in weights_of(tmp_path) if "absmax" in name or "quant" in name]
    second = loop()
    assert second.step == first_loop.step == config.steps
    trained = dict(first_loop._module.named_parameters())
    for name, parameter in second._module.named_parameters():
        assert torch.equal(parameter, trained[name]), name


def test_processes_that_accelerate_takes_as_alone_are_refused(start, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(PartialState, "_shared_state", {})
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})
    with pytest.raises(ConfigError, match="ACCELERATE_USE_CPU"):
        train(start)


def test_other_choices_are_no_continuation(trained, start):
    with pytest.raises(ConfigError, match=r"other choices: learning_rate was 0.0003 and is 0.1"):
        train(replace(start, learning_rate=0.1))
    train(replace(start, workers=1, save_interval=1.0))  # decide nothing; the training has ended


def test_slow_bf16_is_told(start, tmp_path, monkeypatch):
    config = replace(start, precision="bf16", model=str(tmp_path / "none"), run=str(tmp_path))
    for is_fast in (False, True):
        monkeypatch.setattr(finetune, "bf16_is_fast", lambda device, is_fast=is_fast: is_fast)
        said: list[str] = []
        with pytest.raises(LisaError):
            train(config, say=said.append)
        assert any("precision: fp32" in text for text in said) is not is_fast


def test_the_weights_of_a_training_that_ended_are_kept(start, tmp_path):
    config = replace(start, run=str(tmp_path / "again"), validation=None)
    (tmp_path / "again").mkdir()
    best = tmp_path / "again" / BEST_NAME
    best.write_bytes(b"of another one")
    with pytest.raises(ConfigError, match=r"but not the last\.pt to go on from; `lisa merge` them"):
        train(config)
    assert best.read_bytes() == b"of another one"
    assert not (tmp_path / "again" / "config.yaml").exists()


def test_a_validation_that_the_start_has_seen_is_told(start, tmp_path, monkeypatch):
    said: list[str] = []

    class Val(list):
        name = "reason_seg/val"

    monkeypatch.setattr(finetune, "open_source", lambda *arguments: Val([1]))
    monkeypatch.setattr(finetune.Loop, "run", lambda *arguments, **options: None)
    train(replace(start, run=str(tmp_path), validation="reason_seg/val"), say=said.append)
    assert any("trained on ReasonSeg's train and val splits" in text for text in said)


def test_other_data_are_no_continuation(trained, start):
    known = trained / "data.json"
    counts = json.loads(known.read_text())
    assert any(name.startswith("validation ") for name in counts)
    try:
        for name, count in counts.items():
            known.write_text(json.dumps({**counts, name: count + 1}))
            with pytest.raises(
                ConfigError, match=re.escape(f"{name} had {count + 1} samples and has {count}")
            ):
                train(start)
    finally:
        known.write_text(json.dumps(counts))


def test_a_loss_that_is_not_finite_names_the_files(start, tmp_path, monkeypatch):
    losses = finetune.training_losses

    def broken(model, batch, weights, features, **options):
        found = losses(model, batch, weights, features, **options)
        return replace(found, ce=found.ce / 0)

    monkeypatch.setattr(finetune, "training_losses", broken)
    with pytest.raises(NotFiniteError, match=r"step 0: losses .*'ce': inf.* of batch /.*\.jpg"):
        train(replace(start, run=str(tmp_path / "run"), validation=None))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_samples_do_not_end_a_training(start, tmp_path, caplog, capsys, workers):
    pictures = write_reason_seg(tmp_path)
    for name in ("train/short", "val/one"):
        (pictures / f"{name}.jpg").write_bytes(b"no picture")
    write_photo(pictures / "val/two.jpg")
    write_json(pictures / "val/two.json", annotation(["[SEG]"], {"cup": LEFT}))
    write_photo(pictures / "val/three.jpg")
    write_json(pictures / "val/three.json", annotation(["the cup"], {"cup": LEFT}))
    config = replace(
        start,
        run=str(tmp_path / "run"),
        data=str(tmp_path),
        families={"reason_seg": ["ReasonSeg|train"]},
        epochs=1,
        steps_per_epoch=1,
        warmup_steps=0,
        workers=workers,
    )
    said: list[str] = []
    train(config, say=said.append)
    assert "1 bad samples were left out; the warnings name them" in said
    assert "Left out of the validation: " in caplog.text
    assert "one.jpg is no picture" in caplog.text
    assert "val/two.jpg: expected an instruction in words" in caplog.text
    path = tmp_path / "strict.yaml"
    write_train_config(replace(config, run=str(tmp_path / "strict")), path)
    capsys.readouterr()
    assert main(["train", str(path), "--strict"]) == 1
    assert capsys.readouterr().err.startswith(f"lisa: error: {pictures}/train/short.jpg is no")


def test_a_full_disk_is_told_with_what_is_written(start, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(finetune, "write_train_config", fail)
    write_train_config(replace(start, run=str(tmp_path / "run")), tmp_path / "train.yaml")
    assert main(["train", str(tmp_path / "train.yaml")]) == 1
    assert capsys.readouterr().err == (
        f"lisa: error: {tmp_path}/run cannot be written: no space left on the disk; make room and "
        "start again with the same command\n"
    )


def test_a_validation_that_is_not_there_is_told_in_the_words_of_a_training(start, tmp_path):
    config = replace(start, run=str(tmp_path / "run"), validation_data=str(tmp_path))
    with pytest.raises(ConfigError, match=r"validation reason_seg/val: .*`validation: null`"):
        train(config)


def test_a_validation_that_cannot_be_read_gives_no_score(start, tmp_path):
    pictures = write_reason_seg(tmp_path)
    (pictures / "val/one.jpg").write_bytes(b"no picture")
    config = replace(start, run=str(tmp_path / "run"), validation_data=str(tmp_path))
    said = r"validation reason_seg/val: none of 1 samples gave a question.*mend"
    with pytest.raises(LisaError, match=said):
        train(config)
    assert not (tmp_path / "run/best.safetensors").exists()


def test_the_file_of_the_choices_is_never_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    choices = "# mine\nmodel: none/at-all/here\nrun: run\nprecision: fp32\n"
    mine = tmp_path / "run/config.yaml"
    mine.parent.mkdir()
    mine.write_text(choices)
    assert main(["train", str(mine)]) == 1
    assert f"{mine} is where the training keeps all its choices" in capsys.readouterr().err
    assert mine.read_text() == choices
    mine.rename(tmp_path / "mine.yaml")
    # But with what a training has written there it goes on.
    for path in (tmp_path / "mine.yaml", mine):
        assert main(["train", str(path)]) == 1
        assert "none/at-all/here: no such folder" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == choices
    assert read_train_config(mine).run == str(tmp_path / "run")


def test_errors_reach_the_user_in_words(start, tmp_path, capsys):
    path = tmp_path / "train.yaml"
    for changes, message in (
        ({"precision": "nf4"}, "nf4 trains on a GPU only"),
        ({"data": str(tmp_path / "none")}, "none"),
        ({"model": str(tmp_path / "none")}, "no such folder"),
        ({"families": {"sem_seg": ["ade"]}}, "'ade'"),
    ):
        write_train_config(replace(start, run=str(tmp_path / "run"), **changes), path)
        assert main(["train", str(path)]) == 1
        assert message in capsys.readouterr().err
    path.write_text("epochs: 3")
    assert main(["train", str(path)]) == 1
    assert "model and run must be given" in capsys.readouterr().err


def item(size: tuple[int, int], *dialogues: Dialogue) -> Item:
    image = torch.zeros(*size, 3, dtype=torch.uint8).numpy()
    return Item("reason_seg", "x", 0, Sample(Path(f"{size}.jpg"), image), dialogues)


def test_a_batch_of_pictures_of_any_size(first_golden):
    model = first_golden.model
    tokenizer = model.tokenizer
    mask = torch.ones(20, 30).bool().numpy()
    two = Dialogue((("Both cups?", "[SEG] and [SEG]."),), (mask, ~mask))
    words = Dialogue((("What is it?", "A cup."),), ())
    # What is behind the longest length is cut off, its mask with it.
    long = Dialogue((("cup " * 300, "[SEG]."),), (mask,))
    made = make_batch([item((20, 30), two, long), item((50, 10), words)], tokenizer, model.config)
    batch = made.batch
    assert repr(made) == "(20, 30).jpg, (50, 10).jpg"
    assert batch.image_index == [0, 0, 1]
    assert [tuple(masks.shape) for masks in batch.masks] == [(2, 20, 30), (0, 50, 10)]
    assert [geometry.original for geometry in batch.geometry] == [(20, 30), (50, 10)]
    lengths = [len(conversation.ids) for conversation in batch.conversations]
    assert lengths[1] == 512 - 255
    assert set(batch.conversations[1].labels) == {-100}
    nothing = make_batch([item((20, 30), long)], tokenizer, model.config).batch
    losses = training_losses(model, nothing)
    assert losses.total.item() == 0  # nothing to learn is left


def test_a_question_without_room_for_its_answer_is_a_bad_sample(first_golden, tmp_path, caplog):
    pictures = write_reason_seg(tmp_path)
    path = pictures / "train/short.json"
    content = json.loads(path.read_text())
    model = first_golden.model

    def batches(strict: bool) -> MixtureBatches:
        families = {"reason_seg": open_family(tmp_path, "reason_seg", ["ReasonSeg|train"])}
        mixture = Mixture(families, seed=0, explanatory=None, strict=strict)
        return MixtureBatches(mixture, 1, model.tokenizer, model.config)

    write_json(path, {**content, "text": ["cup " * 2000]})
    made = batches(strict=False)
    told = [batch.left_out for batch in (made[k] for k in range(8))]
    assert sum(told, ()) == (("reason_seg/ReasonSeg/train", 1),)
    assert "train/short.jpg: the question " in caplog.text
    assert "leaves no room for its answer within 257 tokens; shorten it" in caplog.text
    strict = [batches(strict=True)[k] for k in range(8)]
    assert any(isinstance(batch, BadSampleError) for batch in strict)
    # What keeps a part of its answer stays as published.
    write_json(path, {**content, "text": [("cup " * 194).strip()]})
    kept = [c for k in range(8) for c in batches(strict=True)[k].batch.conversations]
    cut_off = [c for c in kept if c.labels[-1] not in (-100, model.tokenizer.eos_id)]
    assert cut_off
    assert all(len(c.ids) == 512 - 255 for c in cut_off)


def test_processes_share_the_batches(start):
    class Numbers(MixtureBatches):
        def __init__(self) -> None:
            pass

        def __getitem__(self, number: int) -> FileBatch:
            return FileBatch(number, ())

    def share(first: int, process: int, workers: int = 0) -> list[int]:
        sharing = {"process": process, "processes": 3, "workers": workers, "left_out": set()}
        return [made.batch for made in share_of_batches(Numbers(), first, 4, **sharing)]

    assert share(0, 0) + share(0, 1) + share(0, 2) == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    assert share(2, 1) == [7, 10]
    assert share(2, 1, workers=1) == [7, 10]


def test_a_family_of_bad_samples_ends_a_training_in_words(start, tmp_path, capsys):
    pictures = write_reason_seg(tmp_path)
    for path in pictures.glob("train/*.jpg"):
        path.write_bytes(b"no picture")
    config = replace(
        start,
        run=str(tmp_path / "run"),
        data=str(tmp_path),
        families={"reason_seg": ["ReasonSeg|train"]},
        workers=1,
    )
    write_train_config(config, tmp_path / "train.yaml")
    assert main(["train", str(tmp_path / "train.yaml")]) == 1
    said = "lisa: error: 100 samples of the family reason_seg in a row could not be used"
    assert said in capsys.readouterr().err


def test_every_data_set_is_learned_from(start, tmp_path):
    """One step with each that the other tests train without."""
    data = tmp_path / "data"
    write_semantic(data)
    for name, split_by in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        write_refcoco(data, name, split_by)
    write_refclef(data)
    write_grefcoco(data)
    write_mix665k(data)
    names = [
        *(("sem_seg", name) for name in PUBLISHED_SUB_SETS["sem_seg"]),
        *(("refer_seg", name) for name in (*PUBLISHED_SUB_SETS["refer_seg"], "grefcoco")),
        ("vqa", "llava_v1_5_mix665k"),
    ]
    model = trainable_model(start_of(start), start, torch.device("cpu"))

    def batch(family: str, name: str) -> FileBatch:
        mixture = Mixture({family: open_family(data, family, [name])}, seed=0, strict=True)
        return MixtureBatches(mixture, 1, model.tokenizer, model.config)[0]

    loop = Loop(Finetune(model), tmp_path, LoopSettings(steps=len(names), warmup_steps=0))
    loop.run(lambda first: iter([batch(*name) for name in names]))
    board = EventAccumulator(str(tmp_path)).Reload()
    ce, bce = ([event.value for event in board.Scalars(f"loss/{part}")] for part in ("ce", "bce"))
    assert all(0 < value < math.inf for value in [*ce, *bce[:-1]])
    assert bce[-1] == 0  # words alone


def test_own_pictures_are_a_family_and_a_validation(start, tmp_path):
    for split in ("train", "val"):
        write_photo(tmp_path / f"reason_seg/Kitchen/{split}/a.jpg", size=(30, 70))
        own = annotation(["the kettle"], {"kettle": LEFT}, is_sentence=False)
        write_json(tmp_path / f"reason_seg/Kitchen/{split}/a.json", own)
    config = replace(
        start,
        run=str(tmp_path / "run"),
        data=str(tmp_path),
        families={"reason_seg": ["Kitchen|train"]},
        validation="own/val",
        validation_data=str(tmp_path / "reason_seg/Kitchen"),
        epochs=1,
        steps_per_epoch=1,
        warmup_steps=0,
        micro_batch=2,
        accumulation=1,
        gradient_checkpointing=False,
        precision="bf16",
    )
    said: list[str] = []
    train(config, say=said.append)
    # A processor that does not compute in bf16 is told of first.
    assert "reason_seg/Kitchen/train: 1 samples" in said
    assert "own/val: 1 pictures to score with" in said
