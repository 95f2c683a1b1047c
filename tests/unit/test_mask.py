"""Secrets are replaced, however the bytes are split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.client.mask import HIDDEN, Mask
from loom.wire.masking import MIN_CUT, secrets_in

BYTES = st.text("ab\n", min_size=0, max_size=30).map(str.encode)
SECRETS = st.sets(st.text("ab\n", max_size=8).map(str.encode), max_size=4)


def plainly(data: bytes, secrets: set[bytes]) -> bytes:
    """Apply the rule in its simplest form: at each position, replace the longest secret.

    At the end of the bytes the beginning of a secret counts, if it is long enough.
    """
    shown, at = b"", 0
    while at < len(data):
        here = max((secret for secret in secrets if data.startswith(secret, at)), key=len, default=b"")
        rest = data[at:]
        if len(rest) >= MIN_CUT and any(len(each) > len(rest) and each.startswith(rest) for each in secrets):
            here = max(here, rest, key=len)
        shown += HIDDEN if here else data[at : at + 1]
        at += len(here) or 1
    return shown


@given(BYTES, SECRETS, st.data())
def test_every_split_gives_the_result_of_the_rule(data, secrets, draw):
    mask, shown, at = Mask(secrets), b"", 0
    while at < len(data):
        size = draw.draw(st.integers(1, len(data) - at))
        shown += mask.feed(data[at : at + size])
        at += size
    assert shown + mask.end() == plainly(data, secrets)


def test_only_bytes_that_may_become_a_secret_are_held_back():
    mask = Mask({b"secret", b"key"})
    assert mask.feed(b"no secre") == b"no "
    assert mask.feed(b"t but se") == HIDDEN + b" but "
    assert mask.feed(b"a of ke") == b"sea of "
    assert mask.end() == b"ke"


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("token", {b"token"}),
        (
            "one line\nab\nanother",
            {b"one line\nab\nanother", b"one line\r\nab\r\nanother", b"one line", b"another"},
        ),
    ],
)
def test_secrets_in_a_value(value, hidden):
    assert secrets_in(value) >= hidden
    assert all(Mask({form}).feed(form) == HIDDEN for form in hidden)


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_nothing_in_a_value_is_no_secret(value):
    assert secrets_in(value) == set()
