"""The same content in two languages or two programming languages, and which one a text is in."""

import re
from functools import cache
from random import Random

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task
from patchclamp.organisms.language import words
from patchclamp.organisms.language.code import PROGRAMMING, VARIABLES, assign, program
from patchclamp.organisms.language.concepts import concepts_of
from patchclamp.organisms.language.translation import write_translations

LONGEST = 110
"""Characters of an example, so that it stays within the organisms' 64 tokens."""
_SIGNS = {
    "python": r"\bdef\b|(?<!println)(?<!\w)print\(|\bimport math\b|\brange\(|:\n",
    "julia": r"(?<!\.)\bprintln\(|\bfunction\b|\bend\b|\busing\b|\bbegin\b",
    "cpp": r"\bstd::|#include\b",
    "java": r"\bSystem\.|\bstatic\b|\bint\[\]|\bString\b|\bimport java\b",
}
"""What stands in programs of one language and in no other's."""


@checked
def examples(wanted: str, other: str, n: Positive = 60, *, seed: Natural = 0) -> Task:
    """Return a task of labelled texts: each content once in either dialect.

    Args:
        wanted: a natural or a programming language of the microworld.
        other: another of the same sort.
        n: contents.
        seed: of the draw.

    Returns:
        Task: two cases per content, each labelled with its dialect.

    Raises:
        PatchclampError: languages that there are not, twice the same, or of two sorts.

    Example:
        >>> examples("java", "cpp", 3).labels
        ('java', 'cpp')
    """
    sort = next((one for one in (PROGRAMMING, words.LANGUAGES) if {wanted, other} <= set(one)), ())
    if wanted == other or not sort:
        raise PatchclampError(
            expected=f"two among {', '.join(words.LANGUAGES)}, or two among {', '.join(PROGRAMMING)}",
            got=f"{wanted} and {other}",
            remedy="Choose two of one sort.",
        )
    texts: dict[str, list[str]] = {wanted: [], other: []}
    for i in range(100 * n):
        if len(texts[wanted]) == n:
            break
        both = []
        for language in (wanted, other):
            rng = Random(f"dialects/{seed}/{i}")
            both.append(
                program(rng, language).text if sort is PROGRAMMING else write_translations(rng, (language,))[0].text
            )
        if max(map(len, both)) <= LONGEST:
            for language, text in zip((wanted, other), both, strict=True):
                texts[language].append(text)
    return Task.of_labels(texts, name=f"{wanted} and {other}")


@checked
def prompts(language: str, n: Positive = 40, *, seed: Natural = 0) -> Task:
    """Return openings that do not say which of two dialects follows: assignments, or names.

    ``x = 7`` opens a program in Python or Julia, ``int x = 7;`` one in C++ or Java.

    Args:
        language: one of the two.
        n: prompts; names are 80.
        seed: of the draw.

    Returns:
        Task: one case per opening, without answers.

    Raises:
        PatchclampError: no such language.
    """
    rng = Random(f"prompts/{seed}")
    if language in PROGRAMMING:
        pairs = [(name, str(number)) for name in VARIABLES for number in range(100)]
        shown = [assign(language, *pair) for pair in rng.sample(pairs, n)]
    elif language in words.LANGUAGES:
        shown = rng.sample(words.NAMES, min(n, len(words.NAMES)))
    else:
        raise PatchclampError(
            expected=f"a language among {', '.join((*words.LANGUAGES, *PROGRAMMING))}",
            got=repr(language),
            remedy="Choose one of these.",
        )
    return Task(tuple(map(Case, shown)), "logit", f"openings for {language}")


def read_dialect(text: str) -> str:
    """Return which language a text is in: the one with most words or signs that no other has; empty where none leads.

    Args:
        text: a sentence or a program; a continuation without its prompt.

    Example:
        >>> read_dialect("println(x)\\nend\\n"), read_dialect("Le chat est noir."), read_dialect("x = 7\\n")
        ('julia', 'french', '')
    """
    counts = {name: len(re.findall(signs, text)) for name, signs in _SIGNS.items()}
    if not any(counts.values()) and not re.search(r"[=(){};]", text):
        words_read = re.findall(r"[^\W\d_]+", text)
        counts = {
            name: sum(word.lower() in own or word in own for word in words_read) for name, own in _own_words().items()
        }
    first, second = sorted(counts.values(), reverse=True)[:2]
    return max(counts, key=lambda name: counts[name]) if first > second else ""


@cache
def _own_words() -> dict[str, frozenset[str]]:
    """Return the words that one natural language alone has."""
    listed = {noun.word for noun in words.nouns()} | {noun.plural for noun in words.nouns()}
    listed |= {noun.in_language(tongue)[0] for noun in words.translated_nouns() for tongue in words.LANGUAGES}
    for table in (words.ADJECTIVES, words.MOODS, words.COLOURS, words.SAID):
        listed |= {word for english, row in table.items() for word in (english, *row.split())}
    for table in (words.FUNCTION, *words.FUNCTION_ABROAD.values()):
        listed |= {word for row in table.values() for word in row.split()}
    listed |= {day for days in words.DAYS.values() for day in days} | {
        form for verb in words.REGULAR_VERBS for form in words.verb_forms(verb)
    }
    extra = {
        "english": "is are was the lives works has",
        "french": "est",
        "german": "ist heute am",
        "spanish": "es está hoy",
    }
    spoken = {
        language: {word for word in listed if len(concepts_of(word, language)) > 1 and word not in words.NAMES}
        | set(extra[language].split())
        | (
            {row.split()[words.LANGUAGES.index(language) - 1] for row in words.SAID.values()}
            if language != "english"
            else set(words.SAID)
        )
        for language in words.LANGUAGES
    }
    return {
        language: frozenset(own - set().union(*(other for name, other in spoken.items() if name != language)))
        for language, own in spoken.items()
    }
