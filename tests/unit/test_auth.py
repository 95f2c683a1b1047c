import jwt
import pytest

from loom.access.auth import Action, Auth, Grant, Principal, Quota, digest_of
from loom.access.ids import Ids
from loom.errors import BadRequest, ConfigError, Conflict, Forbidden, Unauthorized


def test_without_tokens_every_request_is_allowed():
    auth = Auth([])
    assert not auth.required
    assert auth.principal(None) == auth.principal(b"Bearer whatever") == Principal()


@pytest.mark.parametrize(
    "given", [b"Bearer one", b"bearer two", b"BEARER two", b"Bearer   one ", b" Bearer one"]
)
def test_each_token_is_accepted_with_the_scheme_in_any_case(given):
    auth = Auth(map(Grant.of, ["one", "two"]))
    assert auth.required
    assert auth.principal(given).allowed(Action.WRITE, "any/id")


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"one",
        b"Bearer",
        b"Bearer ",
        b"Bearer three",
        b"Bearer onetwo",
        b"Bearer on",
        b"Bearer ONE",
        b"Basic one",
        b"Bearer one,Bearer one",
        b"Bearer one two",
        b"Bearer\tone",
        b"Bearer \xff",
    ],
)
def test_anything_else_is_unauthorized(given):
    with pytest.raises(Unauthorized) as caught:
        Auth(map(Grant.of, ["one", "two"])).principal(given)
    assert "one" not in str(caught.value).split()


def test_a_token_outside_ascii_is_compared_as_utf8():
    assert Auth([Grant.of("clé")]).principal("Bearer clé".encode())


def test_an_empty_token_is_refused_at_start():
    with pytest.raises(ConfigError):
        Auth(map(Grant.of, ["one", ""]))


KEY = "k" * 32
OWNER = Grant.of("one").principal.owner
NOW = 1_000_000.0
JOB = Principal(name="job", actions=frozenset({Action.WRITE}), ids=Ids.of_prefix("build-42/"))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


@pytest.mark.parametrize(
    ("principal", "action", "id", "allowed"),
    [
        (Principal(), Action.REPLACE, None, True),
        (JOB, Action.WRITE, "build-42/log", True),
        (JOB, Action.WRITE, "build-4", False),
        (JOB, Action.WRITE, None, False),
        (JOB, Action.READ, "build-42/log", False),
        (JOB, Action.REPLACE, "build-42/log", False),
        (Principal(actions=frozenset({Action.ADMIN}), ids=Ids.of_prefix("a*")), Action.REPLACE, "ab", True),
        (Principal(actions=frozenset({Action.READ}), ids=Ids("a")), Action.READ, "a", True),
        (Principal(actions=frozenset({Action.READ}), ids=Ids("a")), Action.READ, "ab", False),
        (Principal(actions=frozenset({Action.READ}), ids=Ids("a")), Action.READ, None, False),
    ],
)
def test_a_token_allows_its_scopes_within_its_prefix(principal, action, id, allowed):
    assert principal.allowed(action, id) is allowed


@pytest.mark.parametrize(
    ("own", "asked", "prefix"),
    [
        (Principal(), "a", "a"),
        (Principal(ids=Ids.of_prefix("a/")), "", "a/"),
        (Principal(ids=Ids.of_prefix("a/")), "a/b", "a/b"),
        (Principal(ids=Ids.of_prefix("a/")), "a", "a/"),
        (Principal(ids=Ids.of_prefix("a/")), "b", None),
        (Principal(ids=Ids("a/b")), "a", "a/b"),
        (Principal(ids=Ids("a/b")), "a/bc", None),
    ],
)
def test_a_listing_is_narrowed_to_the_streams_that_a_token_covers(own, asked, prefix):
    assert own.ids.within(asked) == prefix


def test_a_grant_ends_when_it_expires():
    clock = Clock()
    grant = Grant.to(digest_of("one"), Principal(expires=NOW + 10))
    auth = Auth([grant], clock=clock)
    assert auth.principal(bearer("one"))
    clock.now += 10
    with pytest.raises(Unauthorized, match="expired"):
        auth.principal(bearer("one"))


def test_a_signed_token_allows_its_scope_until_it_expires():
    clock = Clock()
    auth = Auth([Grant.of("one")], [KEY], clock)
    root = auth.principal(bearer("one"))
    wanted = Principal(
        name="reader", actions=frozenset({Action.READ}), ids=Ids("a/b"), expires=NOW + 60, owner=root.owner
    )
    token, holder = auth.sign(root, wanted)
    assert holder.expires == NOW + 60
    assert auth.principal(bearer(token)) == holder
    assert (holder.actions, holder.ids, holder.name) == (wanted.actions, wanted.ids, "reader")
    clock.now += 60
    with pytest.raises(Unauthorized, match="expired"):
        auth.principal(bearer(token))


def test_a_signed_token_is_refused_after_a_change_of_key_and_by_another_server():
    auth = Auth([Grant.of("one")], [KEY], Clock())
    token, _ = auth.sign(auth.principal(bearer("one")), Principal(expires=NOW + 60))
    assert auth.principal(bearer(token))
    with pytest.raises(Unauthorized):
        Auth([Grant.of("one")], ["x" * 32], Clock()).principal(bearer(token))
    auth.load([Grant.of("one")], ["x" * 32])
    with pytest.raises(Unauthorized):
        auth.principal(bearer(token))
    auth.load([Grant.of("one")])
    with pytest.raises(Unauthorized):
        auth.principal(bearer(token))


def test_a_signed_token_ends_with_its_grant_and_shares_its_quota():
    quota = Quota(streams_live=1, bytes_per_day=7)
    grants = [Grant.to(digest_of("one"), Principal(quota=quota)), Grant.of("two")]
    auth = Auth(grants, [KEY], Clock())
    one = auth.principal(bearer("one"))
    token, _ = auth.sign(one, Principal(expires=NOW + 60))
    assert (auth.principal(bearer(token)).owner, auth.principal(bearer(token)).quota) == (one.owner, quota)
    auth.load(grants[1:], [KEY])
    with pytest.raises(Unauthorized):
        auth.principal(bearer(token))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "loom", "sub": "", "owner": OWNER, "scope": "read"},
        {"iss": "else", "sub": "", "owner": OWNER, "scope": "read", "exp": NOW + 60},
        {"iss": "loom", "sub": "", "owner": OWNER, "exp": NOW + 60},
        {"iss": "loom", "sub": "", "owner": OWNER, "scope": "everything", "exp": NOW + 60},
        {"iss": "loom", "sub": "", "owner": OWNER, "scope": 7, "exp": NOW + 60},
        {"iss": "loom", "sub": "", "owner": OWNER, "scope": "read", "exp": "tomorrow"},
        {"iss": "loom", "sub": "", "owner": "else", "scope": "read", "exp": NOW + 60},
        {"iss": "loom", "sub": "", "owner": [], "scope": "read", "exp": NOW + 60},
    ],
)
def test_a_jwt_of_the_key_with_other_claims_is_refused(claims):
    auth = Auth([Grant.of("one")], [KEY], Clock())
    with pytest.raises(Unauthorized):
        auth.principal(bearer(jwt.encode(claims, KEY, "HS256")))


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_a_token_of_another_algorithm_is_refused(algorithm):
    auth = Auth([Grant.of("one")], [KEY], Clock())
    claims = {"iss": "loom", "sub": "", "owner": OWNER, "scope": "admin", "exp": NOW + 60}
    forged = jwt.encode(claims, "" if algorithm == "none" else KEY * 2, algorithm)
    with pytest.raises(Unauthorized):
        auth.principal(bearer(forged))


@pytest.mark.parametrize(
    "wanted",
    [
        Principal(actions=frozenset({Action.READ}), ids=Ids.of_prefix("build-42/"), expires=NOW + 1),
        Principal(
            actions=frozenset({Action.WRITE, Action.REPLACE}), ids=Ids.of_prefix("build-42/"), expires=NOW + 1
        ),
        Principal(actions=frozenset({Action.ADMIN}), ids=Ids.of_prefix("build-42/"), expires=NOW + 1),
        Principal(actions=frozenset({Action.WRITE}), ids=Ids.of_prefix("build-4*"), expires=NOW + 1),
        Principal(actions=frozenset({Action.WRITE}), ids=Ids("build-4"), expires=NOW + 1),
    ],
)
def test_a_signed_token_cannot_exceed_the_rights_of_its_holder(wanted):
    with pytest.raises(Forbidden):
        Auth([Grant.of("one")], [KEY], Clock()).sign(JOB, wanted)


def test_a_signed_token_expires_no_later_than_the_token_it_is_signed_for():
    auth = Auth([Grant.of("one")], [KEY], Clock())
    short = Principal(expires=NOW + 5)
    assert auth.sign(short, Principal(expires=NOW + 60))[1].expires == NOW + 5


def test_nothing_is_signed_without_an_expiry_or_on_a_server_without_tokens():
    with pytest.raises(BadRequest):
        Auth([Grant.of("one")], [KEY], Clock()).sign(Principal(), Principal())
    with pytest.raises(Conflict):
        Auth([], [KEY], Clock()).sign(Principal(), Principal(expires=NOW + 1))


def test_a_short_signing_key_is_refused():
    with pytest.raises(ConfigError, match="32"):
        Auth([Grant.of("one")], ["short"])
