"""`loom push` as a program, with a real server."""

import asyncio
import json
import os
import re
import select
import signal
from datetime import datetime

import pexpect
import pytest
from tests.cli.test_serve import served
from tests.support.program import BIN, environment, program, run
from tests.support.server import until

from loom.cli.exit_codes import CONFLICT, INPUT, INTERRUPTED, LOST, OK, SPOOLED, UNAUTHORIZED, USAGE


async def test_standard_input_is_followed_live_and_replayed():
    async with served() as server:
        at = {"LOOM_SERVER": server.url}
        async with (
            server.spying() as spy,
            program("loom", "push", "a/b c", "--meta", "k=v", env=at) as process,
        ):
            await spy.until(b"START: a/b c\n")
            async with server.following("a/b%20c") as follower:
                for piece in (b"one\n", b"two\n"):
                    process.write(piece)
                    assert await follower.take(4) == piece
                await process.end_input()
                assert await follower.body() == b""
            assert (await process.ended())[0] == OK
        head, body = await server.get("/stream/a/b%20c")
        assert (body, json.loads(head["x-stream-metadata"])) == (b"one\ntwo\n", {"k": "v"})
        assert head["x-stream-state"] == "complete"


async def test_a_file_is_sent_and_force_replaces_a_stream(tmp_path):
    data = os.urandom(20_000_000)
    (tmp_path / "file").write_bytes(data)
    async with served() as server:
        send = ["push", "--quiet", "--server", server.url, "s", tmp_path / "file"]
        assert await run("loom", *send) == (OK, "", "")
        code, _, err = await run("loom", *send)
        assert (code, err.count("\n")) == (CONFLICT, 1)
        assert await run("loom", *send, "--force") == (OK, "", "")
        assert (await server.get("/stream/s"))[1] == data


async def test_ttl_is_sent_at_creation_and_kept_in_the_spool(tmp_path):
    lost = ["--server", "http://127.0.0.1:1", "--patience", "0", "--spool", tmp_path / "spool"]
    (tmp_path / "file").write_bytes(b"some")
    code, _, err = await run("loom", "push", "--ttl", "soon", "s")
    assert (code, "'soon' is not a duration such as 90s" in err) == (USAGE, True)
    assert (await run("loom", "push", *lost, "--ttl", "2h", "later", tmp_path / "file"))[0] == SPOOLED
    async with served("--retention", "60") as server:
        at = ["--server", server.url]
        assert await run("loom", "push", *at, "-q", "--ttl", "1d", "s", tmp_path / "file") == (OK, "", "")
        assert await run("loom", "push", *at, "-q", "--ttl", "0", "kept", tmp_path / "file") == (OK, "", "")
        assert (await run("loom", "push", "--resume", *at, "--spool", tmp_path / "spool"))[0] == OK
        for id, seconds in (("s", 86400), ("later", 7200), ("kept", None)):
            _, out, _ = await run("loom", "show", "--json", *at, id)
            shown = json.loads(out)
            expires = shown["expires"] and datetime.fromisoformat(shown["expires"])
            lasts = expires and (expires - datetime.fromisoformat(shown["ended"])).total_seconds()
            assert lasts == (seconds and pytest.approx(seconds, abs=1))


async def test_a_wrong_token_ends_the_command_immediately_while_input_stays_open():
    async with served("--tokens", "right-token-of-the-test") as server:
        async with program(
            "loom", "push", "s", env={"LOOM_SERVER": server.url, "LOOM_TOKEN": "no"}
        ) as process:
            process.write(b"some")
            code, err = await process.ended()
            assert (code, err.count("\n")) == (UNAUTHORIZED, 1)


async def test_a_producer_that_is_fenced_stops():
    async with served() as server:
        async with program("loom", "push", "s", env={"LOOM_SERVER": server.url}) as process:
            async with server.spying() as spy:
                process.write(b"mine")
                await spy.until(b"mine")
            wire = await server.wire()
            partial = {"content_type": "application/partial-upload", "upload_offset": 4}
            await wire.request("PATCH", "/stream/s", b" theirs", upload_complete="?1", **partial)
            assert (await wire.answer()).status == 204
            await wire.close()
            assert (await process.ended())[0] == CONFLICT
        assert (await server.get("/stream/s"))[1] == b"mine theirs"


async def test_unsent_bytes_are_spooled_and_sent_later(tmp_path):
    spool = ["--spool", tmp_path / "spool"]
    async with program(
        "loom", "push", *spool, "--patience", "0", "--server", "http://127.0.0.1:1", "s"
    ) as process:
        process.write(b"kept ")
        process.write(b"safe")
        await process.end_input()
        code, err = await process.ended()
    assert code == SPOOLED
    assert str(tmp_path / "spool") in err
    at = {"LOOM_SERVER": "http://127.0.0.1:1"}
    code, _, err = await run("loom", "push", "--resume", *spool, "--patience", "0", env=at)
    assert code == LOST
    assert f"The rest is still in {tmp_path / 'spool'}." in err
    async with served() as server:
        code, out, err = await run("loom", "push", "--resume", *spool, "--server", server.url)
        assert (code, out) == (OK, "")
        assert re.fullmatch(r"→ (.+)\nloom push: complete, 9B in .+ → \1\n", err)
        head, body = await server.get("/stream/s")
        assert (body, head["x-stream-state"]) == (b"kept safe", "complete")
        code, out, err = await run("loom", "push", "--resume", *spool, "--server", server.url)
        assert (code, out, err) == (OK, "", f"loom push: Nothing to send in {tmp_path / 'spool'}.\n")


async def test_nothing_to_send_is_reported_with_the_directory(tmp_path):
    code, out, err = await run("loom", "push", "--resume", env={"XDG_STATE_HOME": str(tmp_path)})
    assert (code, out, err) == (OK, "", f"loom push: Nothing to send in {tmp_path}/loom/spool.\n")
    _, out, _ = await run("loom", "push", "--help")
    assert "~/.local/state/loom/spool" in out.replace("\n", " ")


async def test_a_push_that_gives_up_without_a_spool_says_what_is_lost():
    async with program("loom", "push", "--patience", "0", "--server", "http://127.0.0.1:1", "s") as process:
        process.write(b"some bytes")
        await process.end_input()
        code, err = await process.ended()
    assert code == LOST
    assert "10 bytes that were read are not stored. With --spool DIR they are kept" in err


async def test_page_and_result_are_reported(tmp_path):
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    async with served() as server:
        at = ["--server", server.url.replace("//", "//user:hidden@")]
        code, out, err = await run(
            "loom", "push", *at, "a/b c", tmp_path / "file", "--meta", "outcome=skipped"
        )
        page = re.escape(f"{server.url}/ui/stream/a/b%20c")
        assert (code, out) == (OK, "")
        assert re.fullmatch(rf"→ {page}\nloom push: skipped, 3MiB in \d\.\ds \(.+MiB/s\) → {page}\n", err)


async def test_a_taken_id_is_replaced_or_numbered_on_request(tmp_path):
    (tmp_path / "file").write_bytes(b"some")
    async with served() as server:
        send = ["push", "--server", server.url, "s", tmp_path / "file"]
        assert (await run("loom", *send))[0] == OK
        assert (await run("loom", *send))[0] == CONFLICT
        for id in ("s-2", "s-3"):
            code, _, err = await run("loom", *send, "--new-id")
            assert (code, f"/ui/stream/{id}\n" in err) == (OK, True)
            assert (await server.get(f"/stream/{id}"))[1] == b"some"
        code, _, err = await run("loom", *send, "--new-id", "--force")
        assert (code, "--force or --new-id" in err) == (USAGE, True)
        # What was kept in the spool because the id was taken can be sent with the same options.
        spool = ["--spool", tmp_path / "spool"]
        code, _, err = await run("loom", *send, *spool)
        assert (code, err.count("use --force to replace it, or --new-id")) == (SPOOLED, 2)
        resume = ["push", "--resume", *spool, "--server", server.url]
        assert (await run("loom", *resume))[0] == CONFLICT
        assert (await run("loom", *resume, "--new-id"))[0] == OK
        assert (await server.get("/stream/s-4"))[1] == b"some"


async def test_typed_input_and_progress_share_no_line():
    async with served() as server:
        terminal = pexpect.spawn(
            str(BIN / "loom"), ["push", "--server", server.url, "s"], env=environment(), timeout=20
        )
        await asyncio.to_thread(terminal.expect, "/ui/stream/s\r\n")
        terminal.sendline("typed")
        terminal.sendeof()
        await asyncio.to_thread(terminal.expect, pexpect.EOF)
        shown: object = terminal.before
        assert isinstance(shown, bytes)
        assert re.fullmatch(rb"typed\r\n(\^D\x08\x08)?loom push: complete, 6B in .+\r\n", shown)


async def test_ctrl_c_leaves_a_stream_that_is_not_complete():
    async with served() as server, program("loom", "push", "s", env={"LOOM_SERVER": server.url}) as process:
        async with server.spying() as spy:
            process.write(b"half")
            await spy.until(b"half")
        process.signal(signal.SIGINT)
        assert (await process.ended())[0] == INTERRUPTED
        head, _ = await server.get("/stream/s?notail")
        assert head["x-stream-state"] in ("open", "interrupted", "live")


async def test_ctrl_c_spools_unconfirmed_bytes(tmp_path):
    spool = tmp_path / "spool"
    source, sink = os.pipe()
    os.write(sink, b"half a line")
    lost = ["--spool", spool, "--server", "http://127.0.0.1:1"]
    async with program("loom", "push", *lost, "s", stdin=source) as process:
        assert "Retrying" in await process.log_line()
        await until("the input is read", lambda: not select.select([source], [], [], 0)[0])
        process.signal(signal.SIGINT)
        assert (await process.ended())[0] == INTERRUPTED
    os.close(source)
    os.close(sink)
    async with served() as server:
        code, _, err = await run("loom", "push", "--resume", "--spool", spool, "--server", server.url)
        assert (code, "loom push: open, 11B in" in err) == (OK, True), err
        head, body = await server.get("/stream/s?notail")
        assert (body, head["x-stream-state"]) == (b"half a line", "open")


async def test_on_a_terminal_a_bar_shows_progress(tmp_path):
    (tmp_path / "file").write_bytes(os.urandom(50_000_000))
    async with served() as server:
        arguments = ["push", "--server", server.url, "s", str(tmp_path / "file")]
        terminal = pexpect.spawn(
            str(BIN / "loom"), arguments, env=environment() | {"TERM": "xterm"}, timeout=20
        )
        await asyncio.to_thread(terminal.expect, r"/50\.0 MB|MiB|MB/s")
        await asyncio.to_thread(terminal.expect, pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == OK


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "ID of a stream"),
        (["s", "--resume"], "ID of a stream"),
        (["a//b"], "segment"),
        (["s", "--meta", "novalue"], "key=value"),
        (["s", "--max-buffer", "much"], "64MiB"),
        (["s", "--server", "localhost"], "is not a URL"),
    ],
)
async def test_wrong_arguments_are_reported(arguments, hint):
    code, _, err = await run("loom", "push", *arguments)
    assert code == USAGE
    assert hint in err.splitlines()[-1]


async def test_an_input_that_cannot_be_read_is_reported(tmp_path):
    code, _, err = await run("loom", "push", "s", tmp_path / "none")
    assert (code, err.count("\n")) == (INPUT, 1)
