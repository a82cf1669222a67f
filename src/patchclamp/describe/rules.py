"""A closed grammar of rules that say on which tokens a unit fires, each of them an English sentence."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.describe.judge import Window
from patchclamp.describe.rules_patterns import matches, read_pattern

LONGEST = 20_000
"""Characters of a sentence that is read as a rule."""
NAMED_PATTERNS = {
    "digits": r"^ ?\d+$",
    "a word with a capital letter": r"^ ?[A-Z][a-z]+$",
    "a word in capital letters": r"^ ?[A-Z]{2,}$",
    "a sign that is neither letter nor digit": r"^ ?[^\w\s]+$",
    "letters that go on with a word": r"^[^\W\d_]+$",
    "a space or a new line": r"^\s+$",
}
"""What is said of an expression → the expression."""
_NAMES = {expression: name for name, expression in NAMED_PATTERNS.items()}


@runtime_checkable
class Rule(Protocol):
    """A condition on tokens that can be written as a sentence, and read back from it."""

    @property
    def sentence(self) -> str:
        """The rule in English; ``parse_rule`` reads it."""

    @property
    def complexity(self) -> int:
        """How much it says: the number of tokens that it names, or as many as it is worth."""

    @property
    def needs_labels(self) -> bool:
        """Whether it says something of labels, which few texts have."""

    def fires(self, window: Window) -> Bool[np.ndarray, " token"]:
        """Return on which tokens of a window the unit fires, if the rule is right."""


class TokenRule:
    """A rule that looks at one token at a time, so that a vocabulary's tokens can be looked up."""

    needs_labels = False

    def fits(self, text: str) -> bool:
        """Say whether the unit fires on a token with this text."""
        raise NotImplementedError

    def fires(self, window: Window) -> Bool[np.ndarray, " token"]:
        """Return on which tokens of a window the unit fires."""
        return np.fromiter((self.fits(text) for text in window.tokens), bool, len(window.tokens))


@checked
@dataclass(frozen=True)
class Token(TokenRule):
    """Fire on one token.

    Example:
        >>> Token(" cat").sentence
        'the token " cat"'
    """

    text: str
    complexity = 1

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return f"the token {quote(self.text)}"

    def fits(self, text: str) -> bool:
        """Say whether a token is the one."""
        return text == self.text


@checked
@dataclass(frozen=True)
class Tokens(TokenRule):
    """Fire on any of several tokens.

    Args:
        texts: two at least; they are kept in order, each once.

    Raises:
        PatchclampError: fewer than two.
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(sorted(set(self.texts))))
        if len(self.texts) < 2:
            raise PatchclampError(expected="two tokens at least", got=str(len(self.texts)), remedy="Take Token.")

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.texts)

    @property
    def complexity(self) -> int:
        """The number of tokens."""
        return len(self.texts)

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return f"a token among {', '.join(map(quote, self.texts))}"

    def fits(self, text: str) -> bool:
        """Say whether a token is one of them."""
        return text in self._known


@checked
@dataclass(frozen=True)
class Word(TokenRule):
    """Fire on the forms of a word: its plural, its third person, its ``-ed`` and ``-ing``.

    Args:
        word: any form, of three letters at least.

    Raises:
        PatchclampError: what is no such word.
    """

    word: str
    complexity = 2

    def __post_init__(self) -> None:
        if not stem(self.word) or self.word != self.word.strip().casefold():
            raise PatchclampError(
                expected="a word of three small letters at least", got=repr(self.word[:20]), remedy="Such as 'run'."
            )

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return f"a form of the word {quote(self.word)}"

    def fits(self, text: str) -> bool:
        """Say whether a token is a form of the word."""
        return stem(text) == stem(self.word)


@checked
@dataclass(frozen=True)
class Pattern(TokenRule):
    """Fire on tokens that hold what a regular expression describes.

    Args:
        expression: as ``rules_patterns.matches`` takes it.

    Raises:
        PatchclampError: another expression.
    """

    expression: str

    def __post_init__(self) -> None:
        read_pattern(self.expression)

    @property
    def complexity(self) -> int:
        """2 of an expression that has a name, else 4."""
        return 2 if self.expression in _NAMES else 4

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return _NAMES.get(self.expression, f"a token that matches /{self.expression}/")

    def fits(self, text: str) -> bool:
        """Say whether a token holds what the expression describes."""
        return matches(self.expression, text)


@checked
@dataclass(frozen=True)
class Prefix(TokenRule):
    """Fire on words, or pieces of words, that begin with some letters; capitals do not matter.

    Raises:
        PatchclampError: no letters.
    """

    letters: str
    complexity = 2

    def __post_init__(self) -> None:
        _check_letters(self.letters)

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return f"a word that begins with {quote(self.letters)}"

    def fits(self, text: str) -> bool:
        """Say whether a token's letters begin so, and go on."""
        word = letters_of(text)
        return len(word) > len(self.letters) and word.startswith(self.letters)


@checked
@dataclass(frozen=True)
class Suffix(TokenRule):
    """Fire on words, or pieces of words, that end with some letters; capitals do not matter.

    Raises:
        PatchclampError: no letters.
    """

    letters: str
    complexity = 2

    def __post_init__(self) -> None:
        _check_letters(self.letters)

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return f"a word that ends with {quote(self.letters)}"

    def fits(self, text: str) -> bool:
        """Say whether a token's letters end so, and something comes before."""
        word = letters_of(text)
        return len(word) > len(self.letters) and word.endswith(self.letters)


@checked
@dataclass(frozen=True)
class Follows:
    """Fire on a token where given tokens come just before it.

    Args:
        before: the tokens before it, the nearest last; one at least.
        text: the token; None for any.

    Raises:
        PatchclampError: nothing before.

    Example:
        >>> Follows((" out",), " of").sentence
        'the token " of" after " out"'
    """

    before: tuple[str, ...]
    text: str | None = None
    needs_labels = False

    def __post_init__(self) -> None:
        if not self.before:
            raise PatchclampError(expected="a token before", got="none", remedy="Take Token.")

    @property
    def complexity(self) -> int:
        """The number of tokens that it names, and one more."""
        return 1 + len(self.before) + (self.text is not None)

    @property
    def sentence(self) -> str:
        """The rule in English."""
        what = "any token" if self.text is None else f"the token {quote(self.text)}"
        return f"{what} after {' '.join(map(quote, self.before))}"

    def fires(self, window: Window) -> Bool[np.ndarray, " token"]:
        """Return on which tokens of a window the unit fires."""
        n, tokens = len(self.before), window.tokens
        fired = np.zeros(len(tokens), dtype=bool)
        for i in range(n, len(tokens)):
            fired[i] = (self.text is None or tokens[i] == self.text) and tuple(tokens[i - n : i]) == self.before
        return fired


@checked
@dataclass(frozen=True)
class First:
    """Fire on the first tokens of a window.

    Raises:
        PatchclampError: fewer than one.
    """

    n: int
    complexity = 2
    needs_labels = False

    def __post_init__(self) -> None:
        if not 1 <= self.n <= 10**6:
            raise PatchclampError(expected="1 to 1,000,000 tokens", got=str(self.n), remedy="For example First(1).")

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return "the first token" if self.n == 1 else f"one of the first {self.n} tokens"

    def fires(self, window: Window) -> Bool[np.ndarray, " token"]:
        """Return on which tokens of a window the unit fires."""
        return np.arange(len(window.tokens)) < self.n


@checked
@dataclass(frozen=True)
class Concept:
    """Fire on what a label is true of, where text or images have labels."""

    name: str
    complexity = 1
    needs_labels = True

    @property
    def sentence(self) -> str:
        """The rule in English."""
        return f"what is labelled {quote(self.name)}"

    def fires(self, window: Window) -> Bool[np.ndarray, " token"]:
        """Return on which tokens of a window the unit fires.

        Raises:
            PatchclampError: a window without labels.
        """
        if window.labels is None:
            raise PatchclampError(
                expected="a window whose tokens have labels", got="one without", remedy="Use labelled text or images."
            )
        return np.fromiter((self.name in true for true in window.labels), bool, len(window.labels))


# -- sentences --------------------------------------------------------------------------------------------------------

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))")
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u2800\u3164\uffa0")
_SENTENCES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Rule]], ...] = tuple(
    (re.compile(pattern.replace("QUOTED", _QUOTED)), read)
    for pattern, read in (
        (r"the token (QUOTED)", lambda m: Token(_unquote(m[1]))),
        (r"a token among (QUOTED(?:, QUOTED)+)", lambda m: _tokens(_unquote_all(m[1]))),
        (r"a form of the word (QUOTED)", lambda m: Word(_unquote(m[1]))),
        (r"a token that matches /(.*)/", lambda m: Pattern(m[1])),
        (r"a word that begins with (QUOTED)", lambda m: Prefix(_unquote(m[1]))),
        (r"a word that ends with (QUOTED)", lambda m: Suffix(_unquote(m[1]))),
        (r"the token (QUOTED) after (QUOTED(?: QUOTED)*)", lambda m: Follows(_unquote_all(m[2]), _unquote(m[1]))),
        (r"any token after (QUOTED(?: QUOTED)*)", lambda m: Follows(_unquote_all(m[1]))),
        (r"the first token", lambda m: First(1)),
        (r"one of the first ([1-9]\d{0,6}) tokens", lambda m: First(int(m[1]))),
        (r"what is labelled (QUOTED)", lambda m: Concept(_unquote(m[1]))),
    )
)


@checked
def parse_rule(text: str) -> Rule | None:
    """Return the rule that a sentence says; None where it says none.

    Args:
        text: one sentence of the grammar; blanks around it and a full stop behind it do not matter.

    Returns:
        Rule | None: the rule. Of any rule, ``parse_rule(rule.sentence) == rule``.

    Cost: linear in the text, of which at most 20,000 characters are read.

    Example:
        >>> parse_rule('a token among " dog", " cat".')
        Tokens(texts=(' cat', ' dog'))
        >>> parse_rule("animals, mostly")
    """
    if len(text) > LONGEST:
        return None
    sentence = text.strip().removesuffix(".")
    if sentence in NAMED_PATTERNS:
        return Pattern(NAMED_PATTERNS[sentence])
    for pattern, read in _SENTENCES:
        if match := pattern.fullmatch(sentence):
            try:
                return read(match)
            except (PatchclampError, ValueError):
                return None
    return None


def quote(text: str) -> str:
    r"""Return a token in quotes, with what cannot be seen written out.

    Example:
        >>> print(quote(' a"b' + chr(10) + chr(0x200B)))
        " a\"b\n\u{200b}"
    """
    return '"' + "".join(map(_write, text)) + '"'


def _write(sign: str) -> str:
    if sign in '"\\':
        return "\\" + sign
    if sign == "\n":
        return "\\n"
    hidden = not sign.isprintable() or sign in _BLANK or "VARIATION SELECTOR" in unicodedata.name(sign, "")
    return f"\\u{{{ord(sign):x}}}" if hidden else sign


def _unquote(quoted: str) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else "\n" if m[2] == "n" else m[2], quoted[1:-1])


def _unquote_all(listed: str) -> tuple[str, ...]:
    return tuple(_unquote(m[0]) for m in re.finditer(_QUOTED, listed))


def _tokens(texts: tuple[str, ...]) -> Rule:
    return Token(texts[0]) if len(set(texts)) == 1 else Tokens(texts)


# -- words ------------------------------------------------------------------------------------------------------------

_ENDINGS = (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""))
LEAST_LETTERS = 3


@lru_cache(maxsize=2**16)
def letters_of(text: str) -> str:
    """Return a token's letters, small, without the space before them; empty where it holds anything else."""
    word = text.strip().casefold()
    return word if word.isalpha() else ""


@lru_cache(maxsize=2**16)
def stem(text: str) -> str:
    """Return what the forms of a word have in common; empty of what is no word of three letters.

    Source: ours: the English endings -s, -es, -ies, -ed, -ied and -ing, a doubled last consonant, and a last e are
    taken off; three letters stay. Irregular forms are not joined.

    Example:
        >>> {stem(word) for word in (" run", "runs", " Running")}, stem("making") == stem("make")
        ({'run'}, True)
    """
    word = letters_of(text)
    if len(word) < LEAST_LETTERS:
        return ""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= LEAST_LETTERS:
            word = word[: len(word) - len(ending)] + instead
            break
    if len(word) > LEAST_LETTERS and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word[:-1] if len(word) > LEAST_LETTERS and word.endswith("e") else word


def _check_letters(letters: str) -> None:
    if not letters or letters_of(letters) != letters:
        raise PatchclampError(expected="small letters", got=repr(letters[:20]), remedy="For example 'ing'.")
