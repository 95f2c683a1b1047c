"""The limit for `followers`: a server that only passes each received piece to send(), once for each follower.

A connection that begins with GET is a follower; any other is a producer, whose bytes are sent unchanged.
"""

import asyncio
import socket

import uvloop

followers: list[socket.socket] = []


async def talk(client: socket.socket) -> None:
    """Serve one connection."""
    loop = asyncio.get_running_loop()
    head = await loop.sock_recv(client, 4096)
    if head.startswith(b"GET"):
        client.send(b"HTTP/1.1 200 OK\r\n\r\n")
        followers.append(client)
        return
    client.send(b"HTTP/1.1 201 Created\r\n\r\n")
    while data := await loop.sock_recv(client, 65536):
        for follower in followers:
            follower.send(data)


async def main() -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    talking = set()
    while True:
        client, _ = await asyncio.get_running_loop().sock_accept(listener)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talking.add(asyncio.create_task(talk(client)))


if __name__ == "__main__":
    uvloop.run(main())
