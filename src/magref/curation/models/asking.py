"""Captions and objects from a vision-language model that can be asked about frames: `qwen.py` or `server.py`.

What is asked, and how answers are read, stands in `wording.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from magref.curation.wording import CAPTION_PROMPT, objects_prompt, read_objects
from magref.errors import InputError, MagrefError
from magref.video import Frames

T = TypeVar("T")

FRAMES = 16
TEMPERATURE, TOP_P, REPETITION_PENALTY, NEW_TOKENS = 0.1, 0.001, 1.05, 512
"""Qwen2.5-VL's published settings but for the temperature. Of what a top-p of 0.001 leaves, there is one token."""

_AGAIN = "That is not the JSON that was asked for. Answer again, with the JSON alone."


@dataclass(frozen=True, eq=False)
class Question:
    """Something to be asked about a clip.

    Attributes:
        frames: those that the model sees, uint8 (N, H, W, 3).
        seconds_apart: between one of them and the next.
        turns: what the user says, then what the model answered, in turns; the user's word is the last.
    """

    frames: Frames
    seconds_apart: float
    turns: tuple[str, ...]


class UnansweredError(MagrefError, Generic[T]):
    """Some items of a batch have no answer; those that have are here all the same.

    Attributes:
        answers: one for each item, None where there is none.
        failures: the position of each item without an answer, and why.
    """

    def __init__(self, answers: Sequence[T | None], failures: Mapping[int, MagrefError]) -> None:
        first = next(iter(failures.values()))
        others = f" (the first of {len(failures)} of {len(answers)})" if len(answers) > 1 else ""
        super().__init__(f"{first}{others}")
        self.answers = answers
        self.failures = failures


class AskingCaptioner(ABC):
    """A `Captioner` over a model that answers questions.

    Args:
        fps: frames a second of the clips that it is given.
    """

    def __init__(self, *, fps: float) -> None:
        self.fps = fps

    @abstractmethod
    def reply(self, questions: Sequence[Question]) -> list[str | MagrefError]:
        """The answer to each question, or what went wrong with it."""

    def caption(self, clips: Sequence[Frames]) -> list[str]:
        """What happens in each clip.

        Raises:
            UnansweredError: for some clips the model said nothing or could not be asked.
        """
        return _all(self._ask([self._question(clip, CAPTION_PROMPT) for clip in clips], _not_empty))

    def name_objects(self, clips: Sequence[Frames], captions: Sequence[str]) -> list[list[str]]:
        """The things that each caption names; a model that answers with anything but JSON is asked once more.

        The second question shows the first answer: at this temperature the same question has the same answer.

        Raises:
            UnansweredError: for some clips neither answer can be read, or the model could not be asked.
        """
        pairs = zip(clips, captions, strict=True)
        questions = [self._question(clip, objects_prompt(caption)) for clip, caption in pairs]
        replies = self.reply(questions)
        named: list[list[str] | MagrefError] = [_read(reply, read_objects) for reply in replies]
        unread = [n for n, reply in enumerate(replies) if isinstance(reply, str) and isinstance(named[n], MagrefError)]
        again = [replace(questions[n], turns=(*questions[n].turns, str(replies[n]), _AGAIN)) for n in unread]
        for n, names in zip(unread, self._ask(again, read_objects), strict=True):
            named[n] = names
        return _all(named)

    def _question(self, clip: Frames, text: str) -> Question:
        frames, step = sample_frames(clip)
        return Question(frames, step / self.fps, (text,))

    def _ask(self, questions: Sequence[Question], read: Callable[[str], T]) -> list[T | MagrefError]:
        return [_read(reply, read) for reply in self.reply(questions)] if questions else []


def sample_frames(clip: Frames, count: int = FRAMES) -> tuple[Frames, float]:
    """At most `count` frames in equal steps from the first on, and the step, as transformers samples videos."""
    count = min(count, len(clip))
    step = len(clip) / count
    return clip[np.floor(np.arange(count) * step).astype(int)], step


def _read(reply: str | MagrefError, read: Callable[[str], T]) -> T | MagrefError:
    if isinstance(reply, MagrefError):
        return reply
    try:
        return read(reply)
    except InputError as error:
        return error


def _not_empty(reply: str) -> str:
    if not reply.strip():
        raise InputError("the model described a clip with no word; try another model, or look at the clip")
    return reply.strip()


def _all(answers: Sequence[T | MagrefError]) -> list[T]:
    failures = {n: answer for n, answer in enumerate(answers) if isinstance(answer, MagrefError)}
    if failures:
        raise UnansweredError([None if isinstance(answer, MagrefError) else answer for answer in answers], failures)
    return [answer for answer in answers if not isinstance(answer, MagrefError)]
