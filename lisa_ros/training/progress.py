"""What a person sees of a training: a bar with the time that is left, and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Report(AbstractContextManager["Report"]):
    """Shows how far a training is, and keeps its numbers for TensorBoard.

    Args:
        folder: gets TensorBoard's files.
        first: step to go on from; what an earlier run wrote of later ones is dropped.
        steps: in all.
        silent: shows and writes nothing; for all processes but one.
    """

    def __init__(self, folder: Path, label: str, first: int, steps: int, *, silent: bool) -> None:
        self._folder, self._label = folder, label
        self._first, self._steps = first, steps
        self._silent = silent
        self._stack = ExitStack()

    def __enter__(self) -> Report:
        if self._silent:
            return self
        from torch.utils.tensorboard import SummaryWriter

        columns = (
            TextColumn(self._label),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._board = self._stack.enter_context(
            SummaryWriter(str(self._folder), purge_step=self._first + 1)
        )
        self._bar = self._stack.enter_context(Progress(*columns))
        self._task = self._bar.add_task(
            self._label, total=self._steps, completed=self._first, text=""
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def losses(self, step: int, losses: Mapping[str, float], rate: float) -> None:
        """The losses of a step, and its learning rate."""
        if self._silent:
            return
        for name, value in losses.items():
            self._board.add_scalar(f"loss/{name}", value, step)
        self._board.add_scalar("learning_rate", rate, step)
        text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self._bar.update(self._task, completed=step, text=text)

    def score(self, step: int, value: float, best: float) -> None:
        """A score on the validation set, and the best one so far."""
        if self._silent:
            return
        self._board.add_scalar("validation/score", value, step)
        self._bar.console.print(f"step {step}: score {value:.4f}, best {best:.4f}")
