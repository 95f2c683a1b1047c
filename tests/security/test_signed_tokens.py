"""Signed tokens end with the rights of their owner, when they are revoked, and with their key."""

import json
from typing import Any

import pytest
from tests.cli.test_serve import served
from tests.security.test_reload import reload
from tests.security.test_rights import ROOT, status
from tests.support.program import run
from tests.support.running import ONE_STORE, Loom, Serve

OWNER = "owner-token-of-the-test"
KEYS = [each * 32 for each in "abc"]
EVERYTHING = {"scopes": ["read", "write", "replace"], "prefix": "a", "expires_in": 600}


async def sign(loom: Loom, by: str, **wanted: Any) -> Any:
    wire = await loom.ask("POST", "/tokens", json.dumps(wanted).encode(), authorization=f"Bearer {by}")
    assert wire.head.status == 201
    return json.loads(await wire.body())


async def answered(server, method, target, token, body=None):
    wire = await server.wire()
    await wire.request(method, target, body, authorization=f"Bearer {token}")
    head = await wire.answer()
    data = b"" if head.status == 204 else await wire.body()
    await wire.close()
    return head.status, data


async def signed(server, by=OWNER, **wanted):
    code, body = await answered(server, "POST", "/tokens", by, json.dumps(EVERYTHING | wanted).encode())
    assert code == 201
    return json.loads(body)


def settings(**owner):
    return json.dumps({"tokens": [ROOT, {"token": OWNER, "scopes": ["read", "write", "replace"], **owner}]})


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ({}, [201, 200, 204, 201]),
        ({"scopes": ["read"]}, [403, 200, 403, 403]),
        ({"scopes": ["write"]}, [201, 403, 403, 403]),
        ({"scopes": ["admin"]}, [201, 200, 204, 201]),
        ({"prefix": "b"}, [401, 401, 401, 401]),
        ({"prefix": "a/2"}, [403, 404, 404, 403]),
        ({"expires": "2020-01-01T00:00:00Z"}, [401, 401, 401, 401]),
    ],
)
async def test_a_signed_token_has_no_right_that_its_owner_has_lost(tmp_path, owner, expected):
    file = tmp_path / "loom.yaml"
    file.write_text(settings())
    async with served("-c", file, "--log-format", "json") as server:
        token = (await signed(server))["token"]
        assert (await answered(server, "POST", "/stream/a/1", ROOT, b"bytes"))[0] == 201
        file.write_text(settings(**owner))
        await reload(server, fails=False)
        requests = [
            ("POST", "/stream/a/new", b"bytes"),
            ("GET", "/stream/a/1", None),
            ("DELETE", "/stream/a/1", None),
            ("POST", "/tokens", json.dumps(EVERYTHING).encode()),
        ]
        codes = [(await answered(server, method, path, token, body))[0] for method, path, body in requests]
        assert codes == expected


async def test_a_revoked_token_and_those_signed_with_it_stay_revoked_after_a_restart(tmp_path):
    arguments = ("--data", tmp_path / "d", "--tokens", OWNER)
    async with served(*arguments, store="files") as server:
        revoked = await signed(server)
        child = await signed(server, by=revoked["token"])
        other = await signed(server)
        assert (await answered(server, "DELETE", f"/tokens/{revoked['jti']}", OWNER))[0] == 204
        for _ in range(2):
            codes = [
                (await answered(server, "GET", "/streams", each["token"]))[0] for each in (revoked, child)
            ]
            assert codes == [401, 401]
        assert (await answered(server, "GET", "/streams", other["token"]))[0] == 200
    async with served(*arguments, store="files") as server:
        codes = [
            (await answered(server, "GET", "/streams", each["token"]))[0] for each in (revoked, child, other)
        ]
        assert codes == [401, 401, 200]


async def test_damaged_revocations_do_not_bring_revoked_tokens_back(tmp_path):
    (tmp_path / "revoked.json").write_text("[")
    code, _, err = await run("loom", "serve", "--data", tmp_path, "--port", "0", "--tokens", OWNER)
    assert (code, "revoked.json" in err) == (2, True)


@ONE_STORE
async def test_a_token_is_revoked_by_itself_its_owner_and_an_admin_and_by_no_other(serve: Serve):
    entries = [{"token": token, "scopes": ["read"]} for token in (OWNER, "other-token-of-the-test")]
    loom = await serve(tokens=[ROOT, *entries])

    async def made() -> Any:
        return await sign(loom, OWNER, scopes=["read"], prefix="", expires_in=60)

    one, two = await made(), await made()
    for token, expected in [
        ("other-token-of-the-test", 403),
        (two["token"], 403),
        (one["token"], 204),
        (one["token"], 401),
    ]:
        assert await status(loom, token, "DELETE", f"/tokens/{one['jti']}") == expected
    for token in (OWNER, ROOT):
        signed = await made()
        assert await status(loom, token, "DELETE", f"/tokens/{signed['jti']}") == 204
        assert await status(loom, signed["token"], "GET", "/streams") == 401
    assert await status(loom, ROOT, "DELETE", "/tokens/none") == 400
    assert await status(loom, two["token"], "GET", "/streams") == 200


@ONE_STORE
async def test_a_server_without_tokens_revokes_none(loom: Loom):
    wire = await loom.ask("DELETE", f"/tokens/{'0' * 16}.ffffffff.{'0' * 16}")
    assert wire.head.status == 409


@ONE_STORE
async def test_a_chain_of_signed_tokens_is_bounded(serve: Serve):
    loom = await serve(tokens=[ROOT])
    token, wanted = ROOT, {"scopes": ["read"], "prefix": "", "expires_in": 60}
    for _ in range(4):
        token = (await sign(loom, token, **wanted))["token"]
    assert await status(loom, token, "POST", "/tokens", json.dumps(wanted).encode()) == 403


async def test_the_command_revokes_a_token_a_link_and_an_id(tmp_path):
    async with served("--tokens", OWNER) as server:
        env = {"LOOM_SERVER": server.url, "LOOM_TOKEN": OWNER}
        link = (await run("loom", "share", "a", env=env))[1].strip()
        token = (await run("loom", "token", "--read", "--prefix", "", env=env))[1].strip()
        made = await signed(server)
        for given, signed_token in [
            (link, link.partition("#token=")[2]),
            (token, token),
            (made["jti"], made["token"]),
        ]:
            assert (await answered(server, "GET", "/streams", signed_token))[0] == 200
            assert await run("loom", "token", "revoke", given, env=env) == (0, "", "")
            assert (await answered(server, "GET", "/streams", signed_token))[0] == 401
        code, _, err = await run("loom", "token", "revoke", "something-else", env=env)
        assert (code, "something-else" in err) == (2, False)


async def test_keys_rotate_with_overlap(tmp_path):
    file = tmp_path / "loom.yaml"

    def write(*keys):
        file.write_text(json.dumps({"tokens": [OWNER], "signing_key": keys}))

    write(KEYS[0])
    async with served("-c", file, "--log-format", "json") as server:
        old = (await signed(server))["token"]
        write(KEYS[0], KEYS[1])
        await reload(server, fails=False)
        new = (await signed(server))["token"]
        for keys, expected in [(KEYS[:2], [200, 200]), (KEYS[1:], [401, 200]), (KEYS[2:], [401, 401])]:
            write(*keys)
            await reload(server, fails=False)
            assert [(await answered(server, "GET", "/streams", each))[0] for each in (old, new)] == expected


async def test_the_key_file_may_have_several_keys_and_the_last_one_signs(tmp_path):
    key = tmp_path / "signing.key"
    codes = {}
    tokens: list[str] = []
    for keys in (KEYS[:1], KEYS[:2], KEYS[1:2]):
        key.write_text("\n".join(keys) + "\n")
        async with served("--data", tmp_path, "--tokens", OWNER, store="files") as server:
            tokens.append((await signed(server))["token"])
            codes[len(tokens)] = [(await answered(server, "GET", "/streams", each))[0] for each in tokens]
    assert codes == {1: [200], 2: [200, 200], 3: [401, 200, 200]}
