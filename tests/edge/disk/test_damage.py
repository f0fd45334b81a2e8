"""What a crash, a disk or a person may do to the files: what is read afterwards is right, or absent."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.disk.directory import Directory, DirectoryError
from edge.disk.layout import PIECE, Bad, BadRecord
from tests.edge.disk.support import (
    MIB,
    Quota,
    body,
    body_of,
    get,
    make,
    put_large,
    ready,
    settled,
    storage,
    until,
    whole,
)

KEYS = [b"k%d" % number for number in range(12)]


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.seg"))


async def filled(path: Path) -> None:
    """Twelve small objects, a large one, and one that was removed."""
    async with storage(path, 16 * MIB) as disk:
        disk.put(make(b"removed"), ())
        for key in KEYS:
            disk.put(make(key, 700), ())
        disk.remove(b"removed")
        await put_large(disk, b"film", 2 * PIECE + 1000)
        await settled(disk)


async def all_right_or_absent(path: Path) -> tuple[int, bool]:
    """(objects found, of which none is wrong; whether what is found is to be validated)."""
    async with storage(path, 16 * MIB) as disk:
        await ready(disk)
        found, soft = 0, False
        for key in (*KEYS, b"film", b"removed"):
            size = 700 if key != b"film" else 2 * PIECE + 1000
            loaded = await get(disk, key)
            if loaded is None:
                continue
            try:
                data = await whole(loaded)
            except BadRecord:
                continue
            assert data == body_of(key, size)
            assert loaded.start == make(key, size).start
            assert key != b"removed" or loaded.soft, "what was removed is back, and nobody doubts it"
            found, soft = found + 1, soft or loaded.soft
        return found, soft


async def test_a_flipped_bit_anywhere_is_never_served(tmp_path: Path) -> None:
    await filled(tmp_path / "whole")
    (segment,) = files(tmp_path / "whole")
    data = segment.read_bytes()
    rng = random.Random(3)
    heads = [at for at in range(0, len(data), 64) if data[at : at + 4] == b"cdR\n"]
    places = [at + rng.randrange(160) for at in heads] + [rng.randrange(64)]
    places += [rng.randrange(len(data)) for _ in range(30)]
    for number, at in enumerate(places):
        copy = tmp_path / f"copy {number}"
        shutil.copytree(tmp_path / "whole", copy)
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        files(copy)[0].write_bytes(changed)
        found, _ = await all_right_or_absent(copy)
        assert found < 14
        shutil.rmtree(copy)


async def test_a_file_that_ends_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    await filled(tmp_path / "whole")
    (segment,) = files(tmp_path / "whole")
    size, rng = segment.stat().st_size, random.Random(4)
    ends = sorted([0, 1, 63, 64, 65, 159, size - 1, size, *(rng.randrange(size) for _ in range(25))])
    before = 0
    for number, end in enumerate(ends):
        copy = tmp_path / f"copy {number}"
        shutil.copytree(tmp_path / "whole", copy)
        os.truncate(files(copy)[0], end)
        (copy / "session").unlink()  # the removal may be among what is lost, and this says that something is
        found, soft = await all_right_or_absent(copy)
        assert found >= before
        assert soft or not found
        before = found
        shutil.rmtree(copy)
    assert before == len(KEYS) + 1


@pytest.mark.parametrize("harm", ["flipped", "cut", "missing", "zeros", "no head"])
async def test_damage_behind_makes_what_is_older_doubtful(tmp_path: Path, harm: str) -> None:
    """The damaged segment may have said that an older object was removed."""
    path = tmp_path / "d"
    for _ in range(3):  # each use begins a segment
        await filled(path)
    first, second, third = files(path)
    size = second.stat().st_size
    if harm == "missing":
        second.unlink()
    elif harm == "cut":
        os.truncate(second, size - 300)
    else:
        data = bytearray(second.read_bytes())
        at = 0 if harm == "no head" else 64
        data[at : at + 10] = bytes(10) if harm == "zeros" else b"x" * 10
        second.write_bytes(data)
    third.write_bytes(third.read_bytes()[:64])  # so that the first one's objects are what is found
    (path / "session").write_text((path / "session").read_text().replace("closed", "open"))
    found, soft = await all_right_or_absent(path)
    assert found
    assert soft
    assert first.exists()
    again = await all_right_or_absent(path)
    assert again == (found, True), "the doubt must outlive the process that had it"


async def test_after_a_power_loss_everything_is_validated_before_use(tmp_path: Path) -> None:
    await filled(tmp_path / "d")
    session = tmp_path / "d" / "session"
    assert session.read_text().split()[1] == "closed"
    assert await all_right_or_absent(tmp_path / "d") == (len(KEYS) + 1, False)
    session.write_text("another-boot open 0\n")
    assert await all_right_or_absent(tmp_path / "d") == (len(KEYS) + 1, True)
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        disk.put(make(b"since"), ())
        await settled(disk)
        since = await get(disk, b"since")
        assert since is not None
        assert not since.soft


async def test_a_lost_secret_makes_all_of_it_worthless(tmp_path: Path) -> None:
    await filled(tmp_path / "d")
    (tmp_path / "d" / "storage").write_bytes(b"nonsense")
    assert (await all_right_or_absent(tmp_path / "d"))[0] == 0
    async with storage(tmp_path / "d") as disk:
        await until(lambda: not disk.queued and not disk.upkeep.busy)
        assert not files(tmp_path / "d")


async def test_a_segment_of_another_directory_is_not_believed(tmp_path: Path) -> None:
    await filled(tmp_path / "one")
    await filled(tmp_path / "two")
    shutil.copy(files(tmp_path / "one")[0], tmp_path / "two" / "0000000002.seg")
    shutil.copy(files(tmp_path / "two")[0], tmp_path / "two" / "0000000003.seg")
    found, _ = await all_right_or_absent(tmp_path / "two")
    assert found == len(KEYS) + 1
    async with storage(tmp_path / "two") as disk:
        await ready(disk)
        await settled(disk)
    assert [path.name for path in files(tmp_path / "two")] == ["0000000001.seg"]


async def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "d"
    await filled(path)
    elsewhere = tmp_path / "precious"
    elsewhere.write_bytes(b"precious")
    (path / "notes.txt").write_text("mine")
    (path / "0000000007.seg.bak").write_text("mine")
    (path / "9.seg").write_text("mine")
    (path / "0000000008.seg").symlink_to(elsewhere)
    (path / "0000000009.seg").mkdir()
    found, _ = await all_right_or_absent(path)
    assert found == len(KEYS) + 1
    assert (path / "notes.txt").read_text() == "mine"
    assert (path / "0000000007.seg.bak").exists()
    assert (path / "9.seg").exists()
    assert elsewhere.read_bytes() == b"precious"


def test_a_directory_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DirectoryError, match=r"files that no cdnlab made; give an empty or a new directory"):
        Directory(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["letter.txt"]


def test_a_path_that_cannot_be_a_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryError, match=r"cannot store in .*file.*: .*; give a directory") as caught:
        Directory(tmp_path / "file" / "below")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_directory_without_permission_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    code = (
        "import os, sys; from pathlib import Path; from edge.disk.directory import *\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: Directory(Path(sys.argv[1]))\n"
        "except DirectoryError as error: print(error)"
    )
    os.chmod(tmp_path, 0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(closed / "d")], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == (
        f"cannot store in {closed / 'd'}: permission denied; give a directory that this user may write to\n"
    )


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edge.disk.directory import Directory\n"
        "held = Directory(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "d")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(DirectoryError, match=rf"another process uses it \(pid {process.pid}\)"):
            Directory(tmp_path / "d")
        process.send_signal(signal.SIGKILL)
        process.wait()
    Directory(tmp_path / "d").close(ended=True)


async def test_a_record_that_cannot_be_read_is_a_miss(tmp_path: Path) -> None:
    system, said = Quota(), []
    async with storage(tmp_path / "d", files=system, say=said.append) as disk:
        disk.put(make(b"k"), ())
        disk.put(make(b"other"), ())
        await put_large(disk, b"film", 3 * PIECE)
        await settled(disk)
        film = await get(disk, b"film")
        assert film is not None
        system.broken_reads = True
        with pytest.raises(BadRecord):
            await whole(film)
        assert await body(disk, b"k") is None
        assert await body(disk, b"film") is None
        system.broken_reads = False
        assert await body(disk, b"k") is None, "it is forgotten"
        assert await body(disk, b"other") == body_of(b"other", 1000)
        assert disk.bad[Bad.UNREADABLE] == 2
        assert len(said) == 1


WRITER = """
import asyncio, random, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.edge.disk.support import *

async def main():
    rng = random.Random({seed})
    disk = DiskStorage(Directory(Path({directory!r})), 6 * MIB)
    disk.start()
    print("up", flush=True)
    while True:
        for _ in range(20):
            key = b"k%d" % rng.randrange(200)
            act = rng.random()
            if act < 0.6:
                disk.overtaken(make(key))
                disk.put(make(key, SIZES(key)), ())
            elif act < 0.7:
                disk.remove(key)
            elif act < 0.75:
                await put_large(disk, b"film %d" % rng.randrange(3), 400_000)
            elif act < 0.8:
                disk.put(make(b"never", 5000), ())
                disk.remove(b"never")
            else:
                await body(disk, key)
        await asyncio.sleep(0.001)

SIZES = lambda key: 200 + int(key[1:]) ** 2
asyncio.run(main())
"""


async def test_killed_at_any_moment_again_and_again(tmp_path: Path) -> None:
    """What was removed within the last moment before a kill may be back; what was removed long before may not."""
    rng, path = random.Random(5), tmp_path / "d"
    seen = 0
    for round_ in range(6):
        code = WRITER.format(path=[str(Path(__file__).parents[3])], seed=round_, directory=str(path))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"up\n"
        await asyncio.sleep(rng.uniform(0.01, 0.35))
        process.kill()
        await process.wait()
        async with storage(path, 6 * MIB) as disk:
            await ready(disk)
            for number in range(200):
                key = b"k%d" % number
                data = await body(disk, key)
                assert data is None or data == body_of(key, 200 + number**2)
                seen += data is not None
            for number in range(3):
                data = await body(disk, b"film %d" % number)
                assert data is None or data == body_of(b"film %d" % number, 400_000)
                seen += data is not None
            assert not disk.bad[Bad.HEAD]
            assert not disk.bad[Bad.BODY]
            assert disk.directory.doubtful == 0
    assert seen > 200
