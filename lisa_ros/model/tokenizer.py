"""Text to ids and back, exactly as the published checkpoints were trained.

The checkpoints were trained with the slow LLaMA tokenizer of transformers 4.31.  Around its
*added* tokens (`[SEG]`, `<im_start>`, ...) that tokenizer strips white space and encodes each
remaining stretch of text on its own, dummy prefix included; today's fast tokenizers give other
ids on most prompts.  This module restores the published ids on top of `sentencepiece`.  Where
`tokenizer_config.json` says `legacy: false`, text behind a control token has no dummy prefix.

A prompt is a list of pieces: `str` is text and is never searched for control tokens, so what a
user types stays inert; `Control` is one control token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from lisa_ros.model.config import read_json, values_of
from lisa_ros.model.conversation import BOS, EOS, IMAGE, SEG, UNK, Control, Piece
from lisa_ros.model.errors import CheckpointError

IMAGE_TOKEN_INDEX = -200  # stands for the image in a list of ids, as in LLaVA
_PREFIX = "\u2581"  # sentencepiece's space, which it puts before any text


@dataclass(frozen=True)
class _Run:
    """Consecutive ids that decode together: sentencepiece's own, or one added token."""

    ids: list[int]
    added: bool


class LisaTokenizer:
    """SentencePiece plus the control tokens that LISA adds.

    Args:
        model: path of `tokenizer.model`.
        added_tokens: `{"[SEG]": 32000, ...}`, the content of `added_tokens.json`.
        add_bos: whether prompts begin with `<s>`.
        legacy: whether text behind a control token gets sentencepiece's dummy prefix.

    Attributes:
        settings: of `tokenizer_config.json`, those that change ids.
        seg_id, bos_id, eos_id, unk_id: ids, looked up by name.
    """

    def __init__(
        self,
        model: Path | str,
        added_tokens: dict[str, int],
        *,
        add_bos: bool = True,
        legacy: bool = True,
    ) -> None:
        try:
            self.sentencepiece = SentencePieceProcessor(model_file=str(model))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{model} is not a sentencepiece model: {error}") from None
        self.settings = {"add_bos_token": add_bos, "legacy": legacy}
        self.added_tokens = dict(added_tokens)
        if SEG not in self.added_tokens:
            raise CheckpointError(
                f"the tokenizer knows no {SEG} token (added tokens: "
                f"{', '.join(sorted(added_tokens)) or 'none'}); expected a merged LISA checkpoint, "
                "this looks like its base model"
            )
        self.seg_id = self.added_tokens[SEG]
        self.bos_id: int = self.sentencepiece.bos_id()
        self.eos_id: int = self.sentencepiece.eos_id()
        self.unk_id: int = self.sentencepiece.unk_id()
        if min(self.bos_id, self.eos_id, self.unk_id) < 0:
            raise CheckpointError(
                f"{model}: expected ids for the beginning, the end and the unknown, got "
                f"{self.bos_id}, {self.eos_id} and {self.unk_id}; look for the LLaMA tokenizer of "
                "this checkpoint"
            )
        self._special = {
            self.sentencepiece.id_to_piece(i): i for i in (self.unk_id, self.bos_id, self.eos_id)
        }
        self._added_names = {i: name for name, i in self.added_tokens.items()}
        self._special_names = {i: name for name, i in self._special.items()}
        names = sorted([*self.added_tokens, *self._special, IMAGE], key=len, reverse=True)
        self._control_pattern = re.compile("|".join(re.escape(name) for name in names))

    @classmethod
    def from_folder(cls, folder: Path) -> LisaTokenizer:
        """Read `tokenizer.model` and `added_tokens.json` (or `tokenizer_config.json`)."""
        model = folder / "tokenizer.model"
        if not model.is_file():
            raise CheckpointError(
                f"{model} is missing; a LISA checkpoint needs the sentencepiece model of its LLaMA"
            )
        return cls(model, read_added_tokens(folder), **read_settings(folder))

    @property
    def vocab_size(self) -> int:
        """One more than the highest id."""
        return max(self.sentencepiece.vocab_size() - 1, *self.added_tokens.values()) + 1

    def parse(self, text: str) -> list[Piece]:
        """Split text at control tokens, as the published code does to whole conversations.

        Only for text that the project or a training set wrote, never for what a user typed.
        """
        pieces: list[Piece] = []
        position = 0
        for match in self._control_pattern.finditer(text):
            pieces += [text[position : match.start()], Control(match.group())]
            position = match.end()
        pieces.append(text[position:])
        return [piece for piece in pieces if piece != ""]

    def encode(self, pieces: Iterable[Piece], *, add_bos: bool = True) -> list[int]:
        """Ids of a prompt; the image is `IMAGE_TOKEN_INDEX`.

        Raises:
            CheckpointError: a control piece is not in this checkpoint's vocabulary.
        """
        merged = _merge_text(pieces)
        ids = [self.bos_id] if add_bos and self.settings["add_bos_token"] else []
        for i, piece in enumerate(merged):
            if isinstance(piece, Control):
                ids.append(self._control_id(piece.token))
                continue
            # White space next to an added token never reaches the model.
            if i > 0 and self._is_added(merged[i - 1]):
                piece = piece.lstrip()
            if i + 1 < len(merged) and self._is_added(merged[i + 1]):
                piece = piece.rstrip()
            # The published code tokenises what stands before and behind the image by itself.
            is_first = i == 0 or merged[i - 1] == Control(IMAGE)
            ids += self._encode_text(piece, is_first)
        return ids

    def _encode_text(self, text: str, is_first: bool) -> list[int]:
        """Ids of a stretch of text; a first one has the dummy prefix always."""
        if self.settings["legacy"] or is_first or text.startswith(" "):
            return list(self.sentencepiece.encode(text))
        first, *rest = self.sentencepiece.encode(text, out_type=str) or [""]
        # What is left of the first piece may be unknown, and is so then.
        pieces = [first.removeprefix(_PREFIX), *rest]
        return [self.sentencepiece.piece_to_id(piece) for piece in pieces if piece]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Text of ids, with a space on both sides of each added token as published.

        Args:
            ids: any ids of the vocabulary; `IMAGE_TOKEN_INDEX` is passed over.
            skip_special_tokens: leave out `<s>`, `</s>` and `<unk>`.
        """
        texts = [
            self._added_names[run.ids[0]] if run.added else self._decode_run(run.ids)
            for run in self._runs(ids, skip_special_tokens)
        ]
        return " ".join(texts)

    def _control_id(self, token: str) -> int:
        if token == IMAGE:
            return IMAGE_TOKEN_INDEX
        for table in (self.added_tokens, self._special):
            if token in table:
                return table[token]
        raise CheckpointError(
            f"this checkpoint's tokenizer has no {token} token; known are "
            f"{', '.join([*self._special, *self.added_tokens])}"
        )

    def _is_added(self, piece: Piece) -> bool:
        return isinstance(piece, Control) and piece.token in self.added_tokens

    def _runs(self, ids: Sequence[int], skip_special_tokens: bool) -> list[_Run]:
        runs: list[_Run] = []
        for i in ids:
            if i == IMAGE_TOKEN_INDEX or (skip_special_tokens and i in self._special_names):
                continue
            if i in self._added_names:
                runs.append(_Run([i], added=True))
            elif i >= self.sentencepiece.vocab_size():
                continue  # padding of the embeddings' table, which means nothing
            elif runs and not runs[-1].added:
                runs[-1].ids.append(i)
            else:
                runs.append(_Run([i], added=False))
        return runs

    def _decode_run(self, ids: list[int]) -> str:
        """Sentencepiece ids to text; a special token after text brings a space of its own."""
        text = ""
        pending: list[int] = []
        after_special = False
        for position, i in enumerate(ids):
            if i in self._special_names:
                if not after_special and position > 0:
                    text += " "
                text += self.sentencepiece.decode(pending) + self._special_names[i]
                after_special, pending = True, []
            else:
                pending.append(i)
                after_special = False
        return text + self.sentencepiece.decode(pending)


def read_added_tokens(folder: Path) -> dict[str, int]:
    """The tokens, with their ids, that a folder adds to those of its `tokenizer.model`."""
    added: dict[str, int] = {}
    config = folder / "tokenizer_config.json"
    if config.is_file():
        with values_of(config):
            decoder = read_json(config).get("added_tokens_decoder") or {}
            added.update({token["content"]: int(i) for i, token in decoder.items()})
    extra = folder / "added_tokens.json"
    if extra.is_file():
        added.update(read_json(extra))
    for token, i in added.items():
        if not isinstance(i, int) or isinstance(i, bool) or i < 0:
            raise CheckpointError(
                f"{folder}: expected a number of 0 or more as the id of {token!r}, got {i!r}; "
                "look at added_tokens.json"
            )
    # tokenizer_config.json may list sentencepiece's own specials; they are not *added* ones.
    return {k: v for k, v in added.items() if k not in (BOS, EOS, UNK)}


def read_settings(folder: Path) -> dict[str, bool]:
    """What the `tokenizer_config.json` of a folder, which may be absent, says of `LisaTokenizer`.

    Raises:
        CheckpointError: it ends prompts, as no LISA's does.
    """
    config = folder / "tokenizer_config.json"
    values = read_json(config) if config.is_file() else {}
    if values.get("add_eos_token"):
        raise CheckpointError(
            f"{config}: expected add_eos_token false, as of all LISA checkpoints, got true: no "
            "answer could follow a prompt that has ended"
        )
    return {
        "add_bos": bool(values.get("add_bos_token", True)),
        "legacy": bool(values.get("legacy", True)),
    }


def _merge_text(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbouring strings: sentencepiece must see each stretch of text as one."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece != "":
            merged.append(piece)
    return merged
