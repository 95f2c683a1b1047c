import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.access.ids import ALL_IDS, Ids

PREFIXES = st.text("ab/*", max_size=4)
TEXTS = st.text("ab/", max_size=5)


@pytest.mark.parametrize(
    ("prefix", "covered", "others"),
    [
        ("", ["a", "build", "build/1"], []),
        ("*", ["a", "build", "build/1"], []),
        ("build", ["build", "build/1", "build/1/2"], ["build-evil", "builds/1", "buil", "a/build"]),
        ("build/", ["build/1", "build/1/2"], ["build", "build-evil"]),
        ("build-*", ["build-1", "build-1/2", "build-"], ["build", "build/1"]),
        ("build**", ["build*", "build*1"], ["build", "build/1"]),
    ],
)
def test_a_prefix_ends_at_the_border_of_a_segment(prefix, covered, others):
    ids = Ids.of_prefix(prefix)
    assert [id for id in covered if id not in ids] == [id for id in others if id in ids] == []


@given(PREFIXES, PREFIXES, TEXTS)
def test_ids_in_both_are_those_in_each(one, other, id):
    first, second = Ids.of_prefix(one), Ids.of_prefix(other)
    assert (id in first & second) == (id in first and id in second)
    assert (id in first & Ids(id)) == (id in first)


@given(PREFIXES, PREFIXES)
def test_ids_in_both_are_none_or_have_a_prefix_again(one, other):
    both = Ids.of_prefix(one) & Ids.of_prefix(other)
    assert not both or both.prefix is None or Ids.of_prefix(both.prefix) == both
    assert ALL_IDS & both == both


@given(PREFIXES, TEXTS, TEXTS)
def test_a_search_within_ids_finds_all_of_them(prefix, start, rest):
    ids, id = Ids.of_prefix(prefix), start + rest
    within = ids.within(start)
    if id in ids:
        assert within is not None
        assert id.startswith(within)
    assert within is None or within.startswith(start)
    assert not ids.contains_all(start) or id in ids
