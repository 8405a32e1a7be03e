"""The embedded model's tokenizer: bytes, the numbers 0 to 1000, and the words of its prompts and answers as tokens.

A byte-level BPE without merges, in the format and with the special tokens of Qwen3-VL: any text can be written in it,
what the model is taught costs few tokens. Fixed pieces of prompts and of the answer's JSON are one token each.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from string import Formatter

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from benchmark.training import wording
from benchmark.training.looks import LOOKS
from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError
from sgmri.questions import NONE_OF_THESE, QuestionKind
from sgmri.volume import Anatomy, Plane, Weighting
from worker.engine.controls import scope
from worker.engine.profiles import PromptProfile
from worker.engine.prompts import about_one_frame, answer_keys, answer_start, contract
from worker.engine.summary import Fact, known_line

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
NUMBERS = 1001
"""0 to 1000, a token each: coordinates are thousandths of a frame."""
_ROLES = ("an expert neuroradiologist", "an expert musculoskeletal radiologist")


def build(profile: PromptProfile) -> Tokenizer:
    """Return the tokenizer for a profile; the same profile gives the same tokenizer.

    Parameters
    ----------
    profile
        Whose prompts and answers are written.
    """
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    words = dict.fromkeys(word for text in _texts(profile) for word, _ in splitter.pre_tokenize_str(text))
    tokens = dict.fromkeys(
        [
            # First, so that a number's token is the number
            *(str(number) for number in range(NUMBERS)),
            *sorted(pre_tokenizers.ByteLevel.alphabet()),
            *sorted(word for word in words if not word.isdigit()),
        ]
    )
    model = models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=[], ignore_merges=True)
    made = Tokenizer(model)
    made.pre_tokenizer = splitter
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    made.add_tokens(
        [AddedToken(piece, normalized=False) for piece in dict.fromkeys(_pieces(profile)) if len(piece) > 1]
    )
    return made


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of a token that exists."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ConfigError(f"expected a tokenizer with {token}, found one without; build it again")
    return found


def _pieces(profile: PromptProfile) -> Iterator[str]:
    """Yield the fixed pieces of prompts and answers."""
    keys = profile.answer_format
    second = answer_keys(profile)[1]
    yield answer_start(profile)
    yield f'", "{second}": "'
    yield f'", "{keys.boxes}": ['
    yield f'{{"{keys.frame}": '
    yield f', "{keys.label}": "'
    yield f'", "{keys.box}": ['
    yield f']}}, {{"{keys.frame}": '
    yield "]}]}"
    yield '"}'
    yield ", "
    yield "\nQuestion: "
    yield f"\n{profile.closing}"
    yield from (f"\n{line}" for line in asdict(profile.task_lines).values())
    for template in (profile.system, *asdict(profile.frame_texts).values()):
        yield from (literal for literal, *_ in Formatter().parse(template) if len(literal) > 3)
    yield contract(profile)
    yield from _ROLES


def _texts(profile: PromptProfile) -> Iterator[str]:
    """Yield every text that prompts and answers are made of."""
    yield from _pieces(profile)
    yield from ("user", "system", "assistant", "Frame", " Frame", "Yes", "No", NONE_OF_THESE, "\n", " ", ": ", ".")
    for plane, weighting, anatomy in itertools.product(Plane, Weighting, Anatomy):
        yield f"a {plane} {weighting} {anatomy} MRI volume with fat suppression"
        yield f"an {plane} {anatomy} MRI volume, each"
    for anatomy, questions in STANDARD.items():
        yield scope(anatomy).text
        for question in questions.questions:
            yield question.text
            yield from (f"\n({letter}) {option}" for letter, option in zip("ABCD", question.options, strict=False))
            yield f"\nLabel boxes with: {'; '.join(question.labels)}."
        for look in LOOKS[anatomy]:
            for kind in (QuestionKind.DETECTION, QuestionKind.LOCALISATION):
                yield about_one_frame(kind, (look.label,), profile).text
            found = (
                Fact(label=look.label, places=1, first=1, last=2),
                Fact(label=look.label, places=2, first=1, last=2),
            )
            for several in ((), found, found[:1]):
                yield known_line(several)
                yield wording.caption(several)
            yield f'"{look.label}"'
            yield from wording.SIGNS[look.label]
    yield from (wording.NO_SIGN, wording.NOTHING_THERE, "]}")
    yield from (wording.place((x, y, x, y), 9, 9) for x in (1, 4, 8) for y in (1, 4, 8))
