"""Resolvers in place of this machine's DNS, on which no test may depend."""

import asyncio
import socket

from dialer.providers.egress import Resolve


async def no_such_host(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def no_answer(host: str, port: int) -> list[str]:
    await asyncio.Event().wait()
    raise AssertionError


def answering(*addresses: str) -> Resolve:
    """Resolve every host to these addresses."""

    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve
