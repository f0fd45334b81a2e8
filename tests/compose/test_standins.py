"""The stand-ins for images, before a scripted `docker`: what is there is kept, what can be pulled is pulled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.standins import images

#: Answers `image inspect` and `pull` by the files in $ENGINE and $REGISTRY, and notes every call.
DOCKER = """#!/bin/sh
echo "$@" >> {calls}
for last; do :; done
file=$(echo "$last" | tr '/:' '__')
case "$1" in
image) [ -e {engine}/$file ] && echo '[{{"Config": {{"Labels": null}}}}]' ;;
pull) [ -e {registry}/$file ] && cp {registry}/$file {engine}/ || {{ echo "no such host" >&2; exit 1; }} ;;
*) echo "not expected: $*" >&2; exit 1 ;;
esac
"""
NAME = "redis:7.2-alpine"


class Engine:
    """A scripted engine with its registry."""

    def __init__(self, directory: Path) -> None:
        self._calls = directory / "calls"
        self._engine, self._registry = directory / "engine", directory / "registry"
        for each in (self._engine, self._registry):
            each.mkdir()
        program = directory / "docker"
        program.write_text(DOCKER.format(calls=self._calls, engine=self._engine, registry=self._registry))
        program.chmod(0o755)

    def has(self, name: str) -> None:
        """The engine has this image."""
        (self._engine / name.replace("/", "_").replace(":", "_")).touch()

    def offers(self, name: str) -> None:
        """The registry has it."""
        (self._registry / name.replace("/", "_").replace(":", "_")).touch()

    def verbs(self) -> list[str]:
        """What was asked of it, in order."""
        return [line.split()[0] for line in self._calls.read_text().splitlines()]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Engine(tmp_path)


def test_an_image_that_is_there_is_kept(engine: Engine) -> None:
    engine.has(NAME)
    assert images.ensure((NAME,)) == [images.Image(NAME, "was there")]
    assert set(engine.verbs()) == {"image"}


def test_an_image_that_the_registry_has_is_pulled(engine: Engine) -> None:
    engine.offers(NAME)
    assert images.ensure((NAME,)) == [images.Image(NAME, "pulled")]
    assert engine.verbs() == ["image", "pull"]


def test_an_image_without_a_stand_in_says_so(engine: Engine) -> None:
    with pytest.raises(images.CannotStandIn, match="grafana: no such host, and nothing stands in for it"):
        images.ensure(("grafana",))
    assert engine.verbs() == ["image", "pull"]


def test_who_is_not_root_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(images.CannotStandIn, match=f"{NAME}: no such host; to make a stand-in takes root"):
        images.ensure((NAME,))
    assert "import" not in engine.verbs()
