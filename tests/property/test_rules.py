"""Rules are sentences: what is written is read back, any text is a rule or none, and no expression hangs."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patchclamp.core.errors import PatchclampError
from patchclamp.describe import rules
from patchclamp.describe.judge import Window
from patchclamp.describe.rules_patterns import matches

hostile = st.one_of(st.text('"\\/,. ut{}n\n\r\t\u200b\u202e\ufe0f\u3164\U000e0041é', max_size=12), st.text(max_size=12))
letters = st.text("abcedginrsty\u00df\u0131", min_size=1, max_size=8).filter(lambda x: rules.letters_of(x) == x)
words = letters.filter(rules.stem)
expressions = st.one_of(st.sampled_from(list(rules.NAMED_PATTERNS.values())), st.text("ab./ ", max_size=8))
everything = st.one_of(
    hostile.map(rules.Token),
    st.lists(hostile, min_size=2, max_size=5, unique=True).map(lambda texts: rules.Tokens(tuple(texts))),
    words.map(rules.Word),
    expressions.map(rules.Pattern),
    letters.map(rules.Prefix),
    letters.map(rules.Suffix),
    st.builds(rules.Follows, st.lists(hostile, min_size=1, max_size=3).map(tuple), st.none() | hostile),
    st.integers(1, 10**6).map(rules.First),
    hostile.map(rules.Concept),
)


@given(everything)
@example(rules.Token('" after "'))
@example(rules.Token('", "'))
@example(rules.Follows(("\\",), '"'))
@example(rules.Pattern("/"))
def test_a_rule_survives_its_sentence(rule):
    assert rules.parse_rule(rule.sentence) == rule
    assert rules.parse_rule(f"  {rule.sentence}. ") == rule


@given(everything, everything)
def test_two_rules_have_one_sentence_only_if_they_are_one(one, other):
    assert (one.sentence == other.sentence) == (one == other)


@given(everything)
def test_a_sentence_is_one_line_of_visible_text(rule):
    assert rule.sentence.isprintable()
    assert not re.search("[\u200b\u202e\ufe0f\u3164\U000e0041\n]", rule.sentence)


@given(st.one_of(hostile, st.text('the token among a" afr,\\/', max_size=40)))
def test_any_text_is_a_rule_or_none(text):
    rule = rules.parse_rule(text)
    assert rule is None or rules.parse_rule(rule.sentence) == rule


@given(everything, st.lists(hostile, max_size=8))
def test_a_rule_says_of_every_token_whether_it_fires(rule, tokens):
    window = Window(tuple(tokens), tuple(frozenset({token}) for token in tokens))
    fired = rule.fires(window)
    assert (fired.shape, fired.dtype) == ((len(tokens),), bool)
    if isinstance(rule, rules.TokenRule):
        assert fired.tolist() == [rule.fits(token) for token in tokens]


@pytest.mark.parametrize(
    ("sentence", "tokens", "fired"),
    [
        ('the token " cat"', (" cat", "cat", " cats"), [1, 0, 0]),
        ('a token among " dog", " cat"', (" cat", " dog", " cow"), [1, 1, 0]),
        ('a form of the word "run"', (" running", "Runs", " rung", " ran"), [1, 1, 0, 0]),
        ('a word that begins with "un"', (" undo", " un", "Until", " sun"), [1, 0, 1, 0]),
        ('a word that ends with "ing"', (" king", "ing", " SING", " ring."), [1, 0, 1, 0]),
        ('the token " of" after " out"', (" of", " out", " of", " of"), [0, 0, 1, 0]),
        ('any token after " a" " b"', (" a", " b", " c", " b", " d"), [0, 0, 1, 0, 0]),
        ("digits", (" 12", "7", " 7th", " seven"), [1, 1, 0, 0]),
        (r"a token that matches /^ \d+th$/", (" 12th", "12th", " th"), [1, 0, 0]),
        ("one of the first 2 tokens", ("a", "b", "c"), [1, 1, 0]),
    ],
)
def test_what_rules_fire_on(sentence, tokens, fired):
    rule = rules.parse_rule(sentence)
    assert rule is not None
    assert rule.fires(Window(tokens)).tolist() == [bool(f) for f in fired]


def test_a_concept_needs_labels():
    rule = rules.parse_rule('what is labelled "animal"')
    labels = (frozenset({"animal", "english"}), frozenset())
    assert rule.fires(Window((" cat", " sat"), labels)).tolist() == [True, False]
    with pytest.raises(PatchclampError, match="labels"):
        rule.fires(Window((" cat", " sat")))


# -- expressions ------------------------------------------------------------------------------------------------------

signs = st.sampled_from(["a", "b", ".", r"\d", r"\w", r"\s", "[ab]", "[^a-c]", r"\.", r"[\]\d-]", " ", "/"])
counts = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{0,2}", "{2,}"])
branches = st.tuples(
    st.sampled_from(["", "^"]),
    st.lists(st.tuples(signs, counts), max_size=4).map(lambda items: "".join(a + b for a, b in items)),
    st.sampled_from(["", "$"]),
).map("".join)


@given(st.lists(branches, min_size=1, max_size=3).map("|".join), st.text("ab1 .c/", max_size=8))
def test_expressions_find_what_pythons_find(expression, text):
    expected = re.search(expression.replace("$", r"\Z"), text, re.DOTALL) is not None
    assert matches(expression, text) == expected


@given(st.text("ab(){}[]|*+?\\^$d-&~,.1", max_size=14))
@example("[--a]")
@example("[[a]")
@example("a{3,1}")
@example("[z-a]")
def test_any_expression_is_read_or_refused(expression):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = matches(expression, "ab")
        except PatchclampError:
            return
    assert isinstance(found, bool)


def test_no_expression_takes_more_than_linear_time():
    assert not matches("a*" * 20 + "b", "a" * 500)  # by backtracking this test would never end


def test_groups_and_backward_references_are_refused():
    for expression in ("(a+)+", r"(a)\1", "(?=a)", "a{999}", "\u200b", "a" * 201):
        with pytest.raises(PatchclampError, match="no groups"):
            matches(expression, "a")


def test_a_rule_of_thousands_of_tokens_is_looked_up():
    tokens = tuple(f" w{i}" for i in range(1000))
    rule = rules.parse_rule(rules.Tokens(tokens).sentence)
    assert np.array_equal(rule.fires(Window((*tokens, " v"))), [True] * 1000 + [False])
