"""A model in this process: the ONNX encoder sees each frame once, the language model answers behind shared prefixes.

The volume is one prefix. Frames that are asked about alone are read as if each were the only one, all behind one
start, from the same features: nothing is encoded twice.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sgmri.errors import ConfigError, EngineUnavailable, UnparsableAnswer
from sgmri.interfaces import Frames, ReadingControl
from worker.engine import auxiliary
from worker.engine.auxiliary import AuxiliaryHead, Maps
from worker.engine.bundle import Bundle
from worker.engine.checkpoint import DType
from worker.engine.conversation import Ask, Weights
from worker.engine.fitting import fit
from worker.engine.grammar import Grammars, Matcher
from worker.engine.grammar_schema import AnswerLimits, answer_schema
from worker.engine.language import LanguageModel
from worker.engine.packing import Ending, Generated, PrefixSession
from worker.engine.profiles import Layout, PromptProfile
from worker.engine.prompts import answer_keys, answer_start, chatml, choices, prefix, question_text, turn
from worker.engine.vision import Features, Grid, OnnxEncoder

_log = logging.getLogger(__name__)
_LEAST_LIKELY = 0.02
"""Choices that are less likely than this, all together, are not what the model wants to say."""
_MAX_NEW_TOKENS = 384
_CLOSED = "the volume is closed; open it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a model runs.

    Parameters
    ----------
    name
        ``cpu`` or ``cuda``.
    dtype
        Of the language model; None: bfloat16 on a GPU, float32 on the CPU.
    kv_limit_bytes
        Most memory for keys and values of one call; None: no limit.
    allow_cpu_encoder
        Whether the encoder may run on the CPU beside a language model on a GPU.
    threads
        Of the encoder on the CPU; None: onnxruntime decides.
    """

    name: str = "cpu"
    dtype: DType | None = None
    kv_limit_bytes: int | None = None
    allow_cpu_encoder: bool = False
    threads: int | None = None


class LocalSpeaker:
    """A bundle's model, loaded (implements :class:`worker.engine.conversation.Speaker`).

    Parameters
    ----------
    encoder, language, tokenizer, grammars
        Of one bundle.
    profile
        What its weights were trained on.
    head
        The auxiliary head; None where the bundle has none.

    Raises
    ------
    ConfigError
        If the profile wants frames shown in a way that the exported encoder cannot.
    """

    def __init__(
        self,
        encoder: OnnxEncoder,
        language: LanguageModel,
        tokenizer: Tokenizer,
        grammars: Grammars,
        profile: PromptProfile,
        head: AuxiliaryHead | None = None,
    ) -> None:
        if profile.layout is not Layout.IMAGES:
            raise ConfigError(
                f"expected a profile that shows frames as images, found {profile.layout}: the exported encoder sees "
                "each frame alone"
            )
        self.encoder: OnnxEncoder | None = encoder
        self.language: LanguageModel | None = language
        self.tokenizer = tokenizer
        self.grammars = grammars
        self.profile = profile
        self.head = head

    @classmethod
    def load(cls, bundle: Bundle, profile: PromptProfile, device: Device) -> "LocalSpeaker":
        """Load what a verified bundle holds.

        Raises
        ------
        ConfigError
            If a part cannot be used.
        EngineUnavailable
            If the device is not there, or too small.
        """
        if device.name == "cuda" and not torch.cuda.is_available():
            raise EngineUnavailable(
                "expected a CUDA device, found none that torch can use; install a CUDA build of torch and check that "
                "nvidia-smi lists a device, or set worker.device to cpu"
            )
        dtype = device.dtype or ("bfloat16" if device.name == "cuda" else "float32")
        language = LanguageModel.load(
            bundle.directory, device=device.name, dtype=dtype, kv_limit_bytes=device.kv_limit_bytes
        )
        encoder = OnnxEncoder(
            bundle.path("encoder.onnx"),
            provider=device.name,
            allow_cpu_fallback=device.allow_cpu_encoder,
            threads=device.threads,
        )
        tokenizer = Tokenizer.from_file(str(bundle.path("tokenizer.json")))
        end = min(language.end_ids, default=-1)
        if end < 0:
            raise ConfigError("expected generation_config.json of the bundle to name the token that ends an answer")
        grammars = Grammars(bundle.path("tokenizer.json"), vocabulary=language.vocabulary, end_id=end)
        head = auxiliary.read(bundle.path(auxiliary.FILE_NAME)) if auxiliary.FILE_NAME in bundle.files else None
        return cls(encoder, language, tokenizer, grammars, profile, head)

    def open(self, frames: Frames, control: ReadingControl) -> "LocalConversation":
        """Encode a volume and read its prefix."""
        if self.encoder is None or self.language is None:
            raise EngineUnavailable("the model is closed; open the engine again")
        self.language.memory_share = control.memory_share
        return LocalConversation(self, self.encoder, self.language, frames, control)

    def close(self) -> None:
        """Release weights and device; harmless twice."""
        if self.encoder is not None:
            self.encoder.close()
        self.encoder = self.language = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def text(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=False)
        return text


class LocalConversation:
    """One volume in memory (implements :class:`worker.engine.conversation.Conversation`).

    Parameters
    ----------
    speaker
        Tokens, grammars and profile.
    encoder, language
        Its model.
    frames
        The volume.
    control
        Looked at between the parts.
    """

    def __init__(
        self,
        speaker: LocalSpeaker,
        encoder: OnnxEncoder,
        language: LanguageModel,
        frames: Frames,
        control: ReadingControl,
    ) -> None:
        self._speaker = speaker
        self._language = language
        self._frames = frames
        spec = encoder.spec
        block = spec.patch * spec.merge
        patches = spec.preprocess(fit(frames.pixels, speaker.profile.pixel_budget, block=block))
        self._grid = patches.grid
        self._cells = (patches.grid.rows // spec.merge, patches.grid.columns // spec.merge)
        self._tokens_a_frame = self._cells[0] * self._cells[1]
        _not_cancelled(control)
        self._features: Features | None = encoder.encode(patches.values, patches.grid)
        _not_cancelled(control)
        self._volume: PrefixSession | None = language.open(
            self._prefix_ids(frames),
            embeds=torch.from_numpy(self._features.embeds),
            deepstack=[torch.from_numpy(level) for level in self._features.deepstack],
            grids=[patches.grid] * len(frames.pixels),
        )
        self._alone: tuple[tuple[int, ...], PrefixSession] | None = None

    @property
    def bytes(self) -> int:
        """Memory of the features, keys and values that the volume holds."""
        features = self._features
        arrays = 0 if features is None else sum(level.nbytes for level in (features.embeds, *features.deepstack))
        sessions = [self._volume, self._alone[1] if self._alone else None]
        return arrays + sum(session.bytes for session in sessions if session is not None)

    def maps(self) -> Maps | None:
        """Return where findings may lie, by the auxiliary head; None where the bundle has none."""
        head = self._speaker.head
        if head is None:
            return None
        if self._features is None:
            raise EngineUnavailable(_CLOSED)
        return head.maps(self._features, self._cells)

    def close(self) -> None:
        """Release features, keys and values; harmless twice."""
        self._features = self._volume = self._alone = None

    def weigh(self, asked: Sequence[Ask], control: ReadingControl) -> list[Weights | None]:
        """Return the log-probabilities of the choices, all questions in one forward pass."""
        weights: list[Weights | None] = [None] * len(asked)
        for session, places, groups in self._parts(asked):
            _not_cancelled(control)
            if control.remaining_s() <= 0:
                break
            some = [asked[place] for place in places]
            rows = self._up_to_choice(session, some, groups, control)
            choices_of = [self._choices(ask) for ask in some]
            known = dict.fromkeys(chain.from_iterable(choices_of))
            ready = [place for place, row in enumerate(rows) if row is not None]
            scores = self._language.score(
                session,
                [row for row in rows if row is not None],
                list(known),
                groups=None if groups is None else [groups[place] for place in ready],
            )
            column = {token: place for place, token in enumerate(known)}
            for place, line in zip(ready, scores, strict=True):
                wanted = [float(line[column[token]]) for token in choices_of[place]]
                if np.exp(wanted).sum() >= _LEAST_LIKELY:
                    weights[places[place]] = tuple(wanted)
        return weights

    def say(self, asked: Sequence[Ask], control: ReadingControl) -> list[str | None]:
        """Return answers that the grammar shapes, all written together."""
        said: list[str | None] = [None] * len(asked)
        for session, places, groups in self._parts(asked):
            some = [asked[place] for place in places]
            for place, answer in zip(places, self._written(session, some, groups, control), strict=True):
                if answer.ending is Ending.END:
                    said[place] = self._speaker.text(answer.token_ids)
        return said

    def tell(self, ask: Ask, control: ReadingControl) -> Iterator[str]:
        """Yield an answer about the whole volume that the grammar shapes, token by token."""
        if self._volume is None:
            raise EngineUnavailable(_CLOSED)
        told, answer = "", None
        for answer in self._language.stream(
            self._volume,
            self._question_ids(ask),
            max_new_tokens=_MAX_NEW_TOKENS,
            matcher=self._matcher(ask),
            control=replace(control, progress=lambda done, known: None),
        ):
            text = self._speaker.text(answer.token_ids).rstrip("\ufffd")  # half a character waits for its other half
            yield text[len(told) :]
            told = text
        if answer is None or answer.ending is not Ending.END:
            raise UnparsableAnswer("the answer was cut off")

    def _written(
        self, session: PrefixSession, asked: Sequence[Ask], groups: Sequence[int] | None, control: ReadingControl
    ) -> tuple[Generated, ...]:
        decoding = self._language.run(
            session,
            [self._question_ids(ask) for ask in asked],
            max_new_tokens=_MAX_NEW_TOKENS,
            matchers=[self._matcher(ask) for ask in asked],
            groups=groups,
            # What is said is one step of a reading; the reading itself reports how far it is
            control=replace(control, progress=lambda done, known: None),
        )
        _log.debug("said %d answers in %d passes, %d bytes", len(asked), decoding.passes, decoding.working_bytes)
        return decoding.answers

    def _matcher(self, ask: Ask) -> Matcher:
        count, rows, columns = self._frames.pixels.shape
        base, alone = self._speaker.profile.frame_base, ask.frame_index is not None
        base += 0 if alone else self._frames.first_frame_index
        limits = AnswerLimits(
            frame_numbers=(base, base if alone else base + count - 1),
            rows=rows,
            columns=columns,
            labels=ask.question.labels,
            min_boxes=0 if alone else 1,
            max_boxes=12 if alone else 64,
        )
        return self._speaker.grammars.matcher(answer_schema(ask.question, self._speaker.profile, limits))

    def _question_ids(self, ask: Ask) -> list[int]:
        return self._speaker.tokens(turn(question_text(ask.question, self._speaker.profile, known=ask.known)))

    def _prefix_ids(self, frames: Frames) -> NDArray[np.int64]:
        """Return the tokens of a prefix, a placeholder for each visual token."""
        once = np.array(self._speaker.tokens(chatml(prefix(frames, self._speaker.profile))), np.int64)
        pad = self._speaker.tokenizer.token_to_id("<|image_pad|>")
        return np.repeat(once, np.where(once == pad, self._tokens_a_frame, 1))

    def _parts(self, asked: Sequence[Ask]) -> Iterator[tuple[PrefixSession, list[int], list[int] | None]]:
        """Yield the sessions to ask: for each the places of its questions, and their groups where it has such."""
        if self._volume is None or self._features is None:
            raise EngineUnavailable(_CLOSED)
        whole = [place for place, ask in enumerate(asked) if ask.frame_index is None]
        if whole:
            yield self._volume, whole, None
        frames = sorted({ask.frame_index for ask in asked if ask.frame_index is not None})
        for known, session in self._sessions_alone(frames, self._features):
            places = [place for place, ask in enumerate(asked) if ask.frame_index in known]
            yield (
                session,
                places,
                [known.index(index) for place in places if (index := asked[place].frame_index) is not None],
            )

    def _sessions_alone(
        self, frames: Sequence[int], features: Features
    ) -> Iterator[tuple[tuple[int, ...], PrefixSession]]:
        """Yield sessions that hold the frames, each alone: the open one, or new ones within the memory limit."""
        if not frames:
            return
        if self._alone is not None and set(frames) <= set(self._alone[0]):
            yield self._alone
            return
        self._alone = None
        one = replace(self._frames, pixels=self._frames.pixels[:1], first_frame_index=0)
        ids = self._prefix_ids(one)
        step = self._language.frames_a_session(len(ids)) or len(frames)
        for start in range(0, len(frames), step):
            some = list(frames[start : start + step])
            session = self._language.open_alone(
                ids,
                embeds=torch.from_numpy(features.embeds[some]),
                deepstack=[torch.from_numpy(level[some]) for level in features.deepstack],
                grid=Grid(*self._grid),
            )
            self._alone = (tuple(some), session)
            yield self._alone

    def _up_to_choice(
        self, session: PrefixSession, asked: Sequence[Ask], groups: Sequence[int] | None, control: ReadingControl
    ) -> list[list[int] | None]:
        """Return each question with its answer up to where the choice stands; None where it was not reached in time."""
        profile = self._speaker.profile
        questions = [self._question_ids(ask) for ask in asked]
        if profile.answer_first:
            starts: list[list[int] | None] = [self._speaker.tokens(answer_start(profile))] * len(asked)
        else:
            # The weights were trained to reason first: the choice is weighed where they would write it
            written = self._written(session, asked, groups, control)
            starts = [self._before_answer(answer) for answer in written]
        return [
            None if start is None else [*question, *start, *self._opening(ask)]
            for question, start, ask in zip(questions, starts, asked, strict=True)
        ]

    def _before_answer(self, answer: Generated) -> list[int] | None:
        mark = f'"{answer_keys(self._speaker.profile)[1]}": "'
        text = self._speaker.text(answer.token_ids)
        if answer.ending is not Ending.END or mark not in text:
            return None
        wanted = text[: text.rindex(mark) + len(mark)]
        for count in range(1, len(answer.token_ids)):
            if self._speaker.text(answer.token_ids[:count]) == wanted:
                return list(answer.token_ids[:count])
        return self._speaker.tokens(wanted)  # a token holds the mark and more: the same text in other tokens

    def _opening(self, ask: Ask) -> list[int]:
        return self._speaker.tokens(choices(ask.question, self._speaker.profile)[0])

    def _choices(self, ask: Ask) -> list[int]:
        """Return the tokens that are weighed: the first of each choice, all different."""
        first = [self._speaker.tokens(word)[0] for word in choices(ask.question, self._speaker.profile)[1]]
        if len(set(first)) < len(first):
            raise ConfigError("expected options that begin with different tokens, found two alike; choose by letter")
        return first


def _not_cancelled(control: ReadingControl) -> None:
    if control.is_cancelled():
        raise EngineUnavailable("reading cancelled while the volume was shown; it can be started again")
