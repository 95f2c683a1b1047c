"""How many connections there may be, and which one makes room."""

import resource

import pytest

from loom.http.caps import MOST, Caps, Slot


class Clients:
    """Takes slots, and keeps the numbers of those that were closed."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.closed: list[int] = []
        self._number = 0

    def take(self, client: str = "a", *, busy: bool = False) -> Slot | None:
        self._number += 1
        number = self._number
        slot = self.caps.take(client, lambda: self.closed.append(number))
        if slot and busy:
            self.caps.set_busy(slot)
        return slot


def test_the_longest_idle_connection_makes_room():
    clients = Clients(caps := Caps(total=3))
    first, _, third = (clients.take() for _ in range(3))
    assert first is not None
    assert third is not None
    caps.set_busy(first)
    caps.set_idle(first)
    caps.set_busy(third)
    assert [bool(clients.take()) for _ in range(3)] == [True, True, True]
    assert clients.closed == [2, 1, 4]
    assert (caps.open, caps.closed, caps.refused) == (3, 3, 0)


def test_a_connection_with_a_request_makes_no_room():
    clients = Clients(caps := Caps(total=2))
    busy = [clients.take(busy=True) for _ in range(2)]
    assert clients.take() is None
    assert (clients.closed, caps.refused, caps.open) == ([], 1, 2)
    assert busy[0]
    caps.release(busy[0])
    caps.release(busy[0])
    assert caps.open == 1
    assert clients.take()


def test_a_client_that_has_its_share_makes_room_for_itself_only():
    clients = Clients(caps := Caps(total=10, each=2))
    assert clients.take("a")
    assert clients.take("b")
    assert clients.take("a")
    assert clients.take("a"), "its own idle one"
    assert clients.closed == [1]
    for slot in list(caps._idle):
        caps.set_busy(slot)
    assert clients.take("a") is None
    assert clients.take("b")
    assert all(clients.take("") for _ in range(6)), "a trusted proxy has no share"
    assert caps.open == 10


def test_a_closed_connection_does_not_count_and_is_not_closed_again():
    clients = Clients(caps := Caps(total=1))
    slot = clients.take()
    assert slot
    assert clients.take()
    caps.set_idle(slot)  # its connection has not noticed yet
    caps.release(slot)
    assert caps.open == 1
    assert clients.take()
    assert clients.closed == [1, 2]


def test_nothing_is_kept_of_clients_that_left():
    clients = Clients(caps := Caps(total=5, each=2))
    slots = [clients.take(name) for name in "aabbc"]
    for slot in slots:
        assert slot
        caps.release(slot)
    assert (caps.open, caps._held, caps._idle, caps._idle_of) == (0, {}, {}, {})
    for _ in range(3):
        clients.take("d", busy=True)
    assert list(caps._idle_of) == []


def test_connections_idle_for_long_are_closed():
    clients = Clients(caps := Caps(total=5))
    first, second = clients.take(), clients.take()
    assert first is not None
    assert second is not None
    first.since -= 100
    assert not caps.close_idle(50, 10)
    assert clients.closed == [1]
    assert clients.take()
    assert caps.close_idle(0, 1)
    assert clients.closed == [1, 2]
    assert not caps.close_idle(0, 2)
    assert clients.closed == [1, 2, 3]
    assert not caps.crowded


@pytest.mark.parametrize(
    ("files", "caps"),
    [
        (300, (100, 50)),
        (10, (16, 8)),
        (10**7, (MOST, MOST // 2)),
        (resource.RLIM_INFINITY, (MOST, MOST // 2)),
    ],
)
def test_caps_follow_from_the_limit_of_open_files(
    files: int, caps: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    derived = Caps.derived(0, 0)
    assert (derived.total, derived.each) == caps
    assert Caps.derived(7, 3).total == 7
    assert Caps.derived(7, 0).each == 4


def test_without_caps_every_connection_has_a_place():
    clients = Clients(caps := Caps())
    assert all(clients.take() for _ in range(1000))
    assert not caps.crowded
