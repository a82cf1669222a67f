"""From characters to stimuli: beginnings, roles, spans, windows, chat templates, and text that means harm."""

import json
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Role
from patchclamp.subjects import text
from patchclamp.subjects.spelling import spelling
from patchclamp.subjects.text import Tokenizer, conversations, passages, windows

BOS, EOS = 1, 2
HEADED = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
STRIPPED = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}\n{% endfor %}"


@pytest.fixture(scope="module")
def bare(stories):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(stories)


@pytest.fixture
def tokenizer(bare):
    """The stories model's tokenizer; a template that a test gives it is taken off again."""
    before = bare.chat_template
    yield Tokenizer(bare)
    bare.chat_template = before


def roles(stimulus):
    return [Role(r).name for r in stimulus.roles]


def words(stimulus, role):
    """Return the characters whose tokens have a role, each once."""
    marked = set()
    for (start, stop), r in zip(stimulus.spans.tolist(), stimulus.roles, strict=True):
        if r == role and start >= 0:
            marked |= set(range(start, stop))
    return "".join(stimulus.text[i] for i in sorted(marked))


# -- beginnings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["Once upon a time", "<s>Once upon a time"])
def test_a_text_begins_once_whoever_wrote_the_beginning(tokenizer, written):
    s = tokenizer.stimulus(written)
    assert s.ids.tolist()[:2] == [BOS, 403]
    assert s.ids.tolist().count(BOS) == 1
    assert roles(s) == ["BOS"] + ["TEXT"] * 4
    assert s.ids.tolist() == list(tokenizer.bare("Once upon a time")["input_ids"])
    bare = tokenizer.stimulus(written, bos=False)
    assert bare.ids.tolist() == s.ids.tolist()[1:]
    assert roles(bare) == ["TEXT"] * 4


def test_a_beginning_further_on_is_a_special_token_and_not_counted(tokenizer):
    s = tokenizer.stimulus("Once<s></s> upon")
    assert s.ids.tolist().count(BOS) == 2
    assert roles(s)[0] == "BOS"
    assert [roles(s)[i] for i in np.flatnonzero(np.isin(s.ids, [BOS, EOS]))] == ["BOS", "SPECIAL", "SPECIAL"]
    assert s.counted.tolist() == [r == "TEXT" for r in roles(s)]


def test_a_tokenizer_without_a_beginning_adds_none():
    class Plain:
        is_fast, all_special_ids, pad_token_id, eos_token_id = False, [], None, None

        def __call__(self, texts, add_special_tokens=True, **_options):
            one = isinstance(texts, str)
            ids = [[ord(c) % 50 for c in t] for t in ([texts] if one else texts)]
            return {"input_ids": ids[0] if one else ids}

    plain = Tokenizer(Plain())
    assert plain.prefix == []
    assert plain.pad == 0
    s = plain.stimulus("cat")
    assert s.ids.tolist() == [ord(c) % 50 for c in "cat"]
    # Slow tokenizers give no spans: unknown ones are -1 and no token is taken for template.
    assert s.spans.tolist() == [[-1, -1]] * 3
    assert roles(s) == ["TEXT"] * 3


@given(st.text(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("<s><s>a")
@example("\ud800")
@example("a\0b")
@example("<|im_start|>")
def test_any_text_is_a_stimulus_or_a_stated_error(tokenizer, written):
    try:
        s = tokenizer.stimulus(written)
    except PatchclampError:
        assert not written.strip() or any("\ud800" <= c <= "\udfff" for c in written)
        return
    assert s.ids[0] == BOS
    assert roles(s).count("BOS") == 1
    known = s.spans[s.spans[:, 0] >= 0]
    assert (known >= 0).all()
    assert (known <= len(written)).all()
    assert (known[:, 0] <= known[:, 1]).all()
    covered = {i for a, b in known.tolist() for i in range(a, b)}
    assert covered == set(range(len(written)))


@pytest.mark.parametrize("written", ["", " ", "\n\t "])
def test_an_empty_text_is_refused(tokenizer, written):
    with pytest.raises(PatchclampError, match="expected a text"):
        tokenizer.stimulus(written)


def test_equal_tokens_have_equal_ids_and_other_tokens_others(tokenizer):
    one, same, other = (tokenizer.stimulus(t) for t in ("Once upon", "<s>Once upon", "Once upon a"))
    assert one.id == same.id != other.id
    assert len(one.id) == 32


def test_parts_of_characters_are_shown_as_bytes():
    class Bytes:
        def convert_ids_to_tokens(self, id):
            return {1: "âĤ", 2: "<0xE2>", 3: "�"}[id]

    assert spelling(Bytes(), "��", 1) == ("<0xE2 82>", True)
    assert spelling(Bytes(), "�", 2) == ("<0xE2>", True)
    assert spelling(Bytes(), "�", 3) == ("�", False)
    assert spelling(Bytes(), "<0xE2>", 3) == ("<0xE2>", False)


def test_rows_of_an_embedding_beyond_the_tokens_are_called_by_their_number(tokenizer):
    last = len(tokenizer.bare) - 1
    assert "id" not in tokenizer.token(last)
    assert [tokenizer.token(i) for i in (last + 1, 10**6)] == [f"<id {last + 1}>", "<id 1000000>"]


# -- spans ------------------------------------------------------------------------------------------------------------


def test_spans_point_into_the_text(tokenizer):
    written = "Once upon a time\r\n\r\nthere was ä cat 😀 and\ta dog."
    s = tokenizer.stimulus(written)
    for id, (start, stop) in zip(s.ids, s.spans.tolist(), strict=True):
        token, part_of_one = tokenizer.spelling(int(id))
        # Bytes of one character each stand for all of it.
        if start >= 0 and not part_of_one and len(written[start:stop].encode()) == stop - start:
            assert token.strip() in written[start:stop]
    assert s.spans[0].tolist() == [-1, -1]
    assert "".join(written[a:b] for a, b in s.spans[1:5].tolist()) == "Once upon a time"


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def story(tmp_path):
    """A file longer than a passage, with all that shifts characters against bytes."""
    draw = random.Random(0)
    lines = [
        " ".join(
            draw.choice(["Once", "upon", "a", "time", "ünd", "猫", "😀", "Lily's", "(cat)", "</s>"]) for _ in range(12)
        )
        + draw.choice(["\n", "\r\n", "\n\n"])
        for _ in range(160)
    ]
    file = tmp_path / "story.txt"
    file.write_bytes("".join(lines).encode())
    return file, "".join(lines)


def test_passages_are_the_file_cut_at_its_lines(story):
    file, whole = story
    parts = list(passages(file))
    assert len(parts) > 1
    assert "".join(part for _, part in parts) == whole
    for begin, part in parts:
        assert whole[begin : begin + len(part)] == part
    assert all(part.endswith("\n") for _, part in parts)


@pytest.mark.parametrize("window", [2, 17, 64])
@pytest.mark.parametrize("bos", [True, False])
def test_windows_cover_the_file_once(tokenizer, story, window, bos):
    file, whole = story
    cut = list(windows(tokenizer, file, window=window, bos=bos))
    assert {len(s) for s in cut[:-1]} == {window}
    assert 1 <= len(cut[-1]) <= window
    inner = [(s.ids[1:], s.spans[1:]) if bos else (s.ids, s.spans) for s in cut]
    if bos:
        assert all(s.ids[0] == BOS and s.roles[0] == Role.BOS and s.roles[1:].min() > Role.BOS for s in cut)
        assert all((s.spans[0] == -1).all() for s in cut)
    # The windows' tokens one after another are the passages' tokens, none twice, none left out.
    expected = [tokenizer.pieces([part])[0] for _, part in passages(file)]
    assert np.concatenate([ids for ids, _ in inner]).tolist() == np.concatenate([ids for ids, _ in expected]).tolist()
    spans = np.concatenate([spans for _, spans in inner])
    assert spans.min() == 0
    assert spans.max() == len(whole)
    assert {i for a, b in spans.tolist() for i in range(a, b)} == set(range(len(whole)))
    for (ids, where), _ in zip(inner, range(40), strict=False):
        for id, (start, stop) in zip(ids, where.tolist(), strict=True):
            token, part_of_one = tokenizer.spelling(int(id))
            if token.isascii() and token.strip() and not part_of_one:
                assert token.strip() in whole[start:stop]


def test_a_window_too_small_for_its_beginning_is_refused(tokenizer, story):
    with pytest.raises(PatchclampError, match="a window of at least 2 tokens"):
        list(windows(tokenizer, story[0], window=1))
    assert len(next(windows(tokenizer, story[0], window=1, bos=False))) == 1


def test_one_endless_line_is_read_in_pieces(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST_LINE", 100)
    monkeypatch.setattr(text, "PASSAGE", 300)
    file = tmp_path / "line.txt"
    file.write_text("Once upon a time " * 200)
    parts = list(passages(file))
    assert max(len(part) for _, part in parts) <= 400
    assert "".join(part for _, part in parts) == file.read_text()
    cut = list(windows(tokenizer, file, window=32))
    assert max(b for s in cut for _, b in s.spans.tolist()) == len(file.read_text())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "which is empty"),
        (b" \n\r\n\t", "which is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "UTF-8|binary"),
        (b"once upon\0a time", "binary data"),
        (b"caf\xe9", "UTF-8"),
        ("cat".encode("utf-16"), "UTF-8|binary"),
        (b"a\n" * 3000 + b"\xff", "UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tokenizer, tmp_path, data, message):
    file = tmp_path / "f.txt"
    file.write_bytes(data)
    with pytest.raises(PatchclampError, match=message):
        list(windows(tokenizer, file, window=8))


def test_a_file_that_is_not_there_is_named(tokenizer, tmp_path):
    with pytest.raises(PatchclampError, match="not there"):
        list(passages(tmp_path / "nowhere.txt"))
    with pytest.raises(PatchclampError, match="a folder"):
        list(windows(tokenizer, tmp_path, window=8))


# -- continuations ----------------------------------------------------------------------------------------------------


def test_an_answer_is_what_it_adds_to_the_prompt(tokenizer):
    whole = tokenizer.stimulus("Once upon a time there").ids.tolist()
    assert tokenizer.continuation("Once upon a time", " there") == tuple(whole[5:])
    # Alone the same word would begin a text, with tokens of its own.
    assert tokenizer.continuation("Once upon", " a time") == (261, 378)
    lone = tokenizer.bare(" Lily", add_special_tokens=False)["input_ids"]
    assert len(tokenizer.continuation("Once there was", " Lily")) < len(lone)


@pytest.mark.parametrize(
    ("prompt", "answer"), [("Once upon a ti", "me"), ("Once upon", ""), ("", " time"), ("On", "ce")]
)
def test_an_answer_that_changes_the_prompt_is_refused(tokenizer, prompt, answer):
    with pytest.raises(PatchclampError):
        tokenizer.continuation(prompt, answer)


def test_generated_text_is_what_is_added(tokenizer):
    prompt, ids = tokenizer.stimulus("Once upon").ids, np.array([261, 378])
    assert tokenizer.continuation_of(prompt, ids) == " a time"
    assert tokenizer.continuation_of(prompt, np.zeros(0, dtype=np.int64)) == ""
    assert tokenizer.token(261) == " a"


# -- chat templates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [HEADED, STRIPPED])
@pytest.mark.parametrize(
    "said", ["Once upon a time", "user", "u", "[user]", "|>", " padded ", "two\nlines", "{{ 1 }}", "<s>"]
)
def test_the_users_own_words_are_text_and_the_rest_is_template(tokenizer, template, said):
    tokenizer.bare.chat_template = template
    s = tokenizer.stimulus(said, chat=True)
    assert s.ids[0] == BOS
    assert roles(s).count("BOS") == 1
    own = said.strip() if template is STRIPPED else said
    assert s.text.count("user") >= 1
    if said == "<s>":
        assert "SPECIAL" in roles(s)
        return
    header = "[user] " if template is STRIPPED else "<|user|>\n"
    begin = s.text.index(header) + len(header)
    assert s.text[begin : begin + len(own)] == own
    for role, (start, stop) in zip(roles(s), s.spans.tolist(), strict=True):
        if start < 0 or role in ("BOS", "SPECIAL"):
            continue
        assert (role == "TEXT") == (stop > begin and start < begin + len(own)), (role, s.text[start:stop])
    assert words(s, Role.TEXT).strip() == own.strip()


def test_every_message_of_a_conversation_keeps_its_place(tokenizer):
    tokenizer.bare.chat_template = HEADED
    messages = [
        {"role": "user", "content": "user"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "assistant"},
    ]
    whole, inside = tokenizer.render(messages)
    assert [whole[a:b] for a, b in inside] == ["user", "a", "", "assistant"]
    headers = [whole[:a].splitlines()[-1] for a, _ in inside]
    assert headers == ["<|user|>", "<|assistant|>", "<|user|>", "<|assistant|>"]


def test_a_template_that_rewrites_the_words_is_searched(tokenizer):
    tokenizer.bare.chat_template = (
        "{% for m in messages %}({{ m['content'] | length }}) {{ m['content'] }};{% endfor %}"
    )
    whole, inside = tokenizer.render([{"role": "user", "content": "a cat"}, {"role": "user", "content": "sat"}])
    assert whole == "(5) a cat;(3) sat;"
    assert [whole[a:b] for a, b in inside] == ["a cat", "sat"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('only the assistant may speak') }}",
        "{{ messages[7]['content'] }}",
        "{% for m in messages %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    ],
)
def test_a_template_that_fails_says_so(tokenizer, template):
    tokenizer.bare.chat_template = template
    with pytest.raises(PatchclampError, match="the chat template takes"):
        tokenizer.stimulus("Once", chat=True)


def test_without_a_template_there_is_no_chat(tokenizer):
    tokenizer.bare.chat_template = None
    with pytest.raises(PatchclampError, match="Leave --chat out"):
        tokenizer.stimulus("Once", chat=True)


def test_a_file_of_conversations(tokenizer, tmp_path):
    tokenizer.bare.chat_template = HEADED
    said = [
        [{"role": "user", "content": "Once\u2028upon"}, {"role": "assistant", "content": "a time"}],
        [{"role": "user", "content": "[Lily] said"}],
    ]
    file = tmp_path / "chats.txt"
    lines = [json.dumps(said[0], ensure_ascii=False), "", "  A plain line  ", "[no json", json.dumps(said[1])]
    file.write_text("\r\n".join(lines))
    found = list(conversations(tokenizer, file, window=100))
    expected = [said[0], *([{"role": "user", "content": t}] for t in ("A plain line", "[no json")), said[1]]
    assert len(found) == 4
    for s, messages in zip(found, expected, strict=True):
        whole, _ = tokenizer.render(messages)
        [(ids, _)] = tokenizer.pieces([whole])
        assert s.ids.tolist() == [BOS, *ids.tolist()]
        assert {"BOS", "TEXT", "TEMPLATE", "SPECIAL"} == set(roles(s))
    short = list(conversations(tokenizer, file, window=5))
    assert [s.ids.tolist() for s in short] == [s.ids.tolist()[:5] for s in found]


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "[1, 2]",
        '[{"role": "user"}]',
        '[{"role": "user", "content": null}]',
        '[{"role": "user", "content": [1]}]',
        '[{"role": "user", "content": "\\ud800"}]',
        '["role", "content"]',
    ],
)
def test_a_line_of_broken_messages_is_named(tokenizer, tmp_path, line):
    tokenizer.bare.chat_template = HEADED
    file = tmp_path / "chats.txt"
    file.write_text(line + "\n")
    with pytest.raises(PatchclampError):
        list(conversations(tokenizer, file, window=50))


def test_a_line_of_absurd_depth_is_taken_for_prose(tokenizer, tmp_path, monkeypatch):
    tokenizer.bare.chat_template = HEADED
    file = tmp_path / "chats.txt"
    file.write_text("[" * 20_000 + "\n")
    [s] = conversations(tokenizer, file, window=50)
    assert len(s) == 50
