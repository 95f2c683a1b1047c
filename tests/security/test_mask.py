"""Secrets of `loom run --mask` in each form that a job prints, in linear time and bounded memory."""

import json
import os
import shlex
import string
import subprocess
import time
import tracemalloc

import pytest
from tests.cli.test_serve import served
from tests.support.program import run

from loom.client.mask import HIDDEN, Mask
from loom.wire.masking import secrets_in

VALUES = [
    " it's secret \n",
    "a\"b$c`d\\e'f",
    "line one\nline 'two'\nthree\tand",
    "plain-token",
    "t\u00f6k'en x",
    f"secret {string.punctuation}",
    "~secret\x01 #\x7f\x1b",
]
SCRIPTS = [
    ("bash", 'set -x; : "$1" "--password=$1"'),
    ("bash", 'printf "%q --password=%q" "$1" "$1"'),
    ("bash", 'x="$1"; declare -p x'),
    ("sh", 'set -x; : "$1"'),
]


def masked(data: bytes, value: str) -> bytes:
    mask = Mask(secrets_in(value))
    return mask.feed(data) + mask.end()


@pytest.mark.parametrize("value", VALUES)
def test_the_stripped_form_is_masked(value: str):
    assert masked(f"<{value.strip()}>".encode(), value) == b"<***>"


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_what_shells_quote_is_masked(value: str, locale: str):
    forms = [shlex.join(["echo", value, f"--password={value}"]).encode()]
    for shell, script in SCRIPTS:
        command = [shell, "-c", script, shell, value]
        done = subprocess.run(command, capture_output=True, env=os.environ | {"LC_ALL": locale})
        forms.append(done.stdout + done.stderr)
    for form in forms:
        shown = masked(form, value)
        assert HIDDEN in shown
        for word in (b"secret", b"$c", b"two", b"three", b"token", b"en x"):
            assert word not in value.encode() or word not in shown, (form, shown)


def test_a_secret_cut_by_the_end_is_masked():
    assert masked(b"the key is hush-hus", "hush-hush-1") == b"the key is ***"
    assert masked(b"the key is hus", "hush-hush-1") == b"the key is hus", "too short to be recognized"


LONG = "a" * 20_000 + "b"


def test_memory_is_bounded():
    tracemalloc.start()
    mask = Mask(secrets_in(LONG))
    mask.feed(b"a" * 100_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20


@pytest.mark.parametrize("data", [b"a" * 500_000, b"xa" * 250_000, (b"a" * 500 + b"x") * 1000])
@pytest.mark.parametrize("size", [1, 997, 32_768])
def test_time_is_linear(data: bytes, size: int):
    mask = Mask(secrets_in(LONG))
    begun = time.process_time()
    pieces = [mask.feed(data[at : at + size]) for at in range(0, len(data), size)]
    shown = b"".join(pieces) + mask.end()
    taken = time.process_time() - begun
    assert shown == data or (data[-9999:].strip(b"a") == b"" and shown == data[:-20_000] + HIDDEN)
    assert taken < 8


def test_many_short_secrets_cost_no_more():
    mask = Mask({b"a", b"a" * 1000 + b"b"})
    begun = time.process_time()
    assert mask.feed(b"a" * 300_000) + mask.end() == HIDDEN * 299_000 + HIDDEN
    assert time.process_time() - begun < 10


async def test_a_masked_run_sends_no_form_of_the_secret():
    value = " hush'hush $1 \n"
    script = 'exec 2>&1; set -x; : "$1"; set +x; echo "$S" $S; printf "the end is %s" "hush\'hush"'
    async with served() as server:
        arguments = ["--server", server.url, "--mask", "S", "s", "--", "bash", "-c", script, "bash", value]
        assert (await run("loom", "run", *arguments, env={"S": value}))[0] == 0
        head, body = await server.get("/stream/s")
    command = json.loads(head["x-stream-metadata"])["command"]
    assert command.endswith(" bash '***'")
    assert b"hush" not in body
    assert body.endswith(b"the end is***"), "the value begins with the space"
