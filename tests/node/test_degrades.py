"""What is said to work less well without the store."""

from __future__ import annotations

from cdnlab.node.degrades import DEGRADED, Degrades, Feature
from cdnlab.node.log import Events
from cdnlab.node.store import Store


def values(degrades: Degrades) -> dict[str, float]:
    return {dict(sample.labels)["feature"]: sample.value for sample in degrades.family().samples}


def test_every_feature_has_a_sentence_and_a_series_from_the_start() -> None:
    degrades = Degrades(None)
    assert values(degrades) == {str(each): 0 for each in Feature}
    assert all(each.sentence for each in Feature)
    assert len({each.sentence for each in Feature}) == len(Feature)
    assert DEGRADED.labels == ("feature",)


async def test_a_registered_feature_is_degraded_while_the_store_is_away_or_as_it_says_itself() -> None:
    store = Store("unix:///nowhere/store.sock", Events())
    degrades = Degrades(store)
    blind = False
    degrades.register(Feature.LEASES)
    degrades.register(Feature.PURGES, lambda: blind)
    assert [row["feature"] for row in degrades.status()] == ["leases"]
    blind = True
    assert degrades.status() == [
        {"feature": "leases", "sentence": Feature.LEASES.sentence},
        {"feature": "purges", "sentence": Feature.PURGES.sentence},
    ]
    store.up, blind = True, False
    assert degrades.status() == []
    assert set(values(degrades).values()) == {0}
    await store.stop()


def test_without_a_store_nothing_can_be_lost() -> None:
    degrades = Degrades(None)
    degrades.register(Feature.FLOWS)
    assert degrades.status() == []
