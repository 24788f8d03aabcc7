"""Receipts of publications with a key: for their time, and no more than so many."""

from __future__ import annotations

import pytest

from flask_sse.brokers import keyed_receipts
from flask_sse.brokers.base import KEY_SECONDS, Publication, Receipt
from flask_sse.brokers.keyed_receipts import KeyedReceipts
from flask_sse.settings import History

NOW = 1000.0


def publication(key: str | None, channel: str = "a") -> Publication:
    return Publication(channel, b"{}", History(), key=key)


def test_a_receipt_is_that_of_its_channel_and_key_for_its_time() -> None:
    receipts = KeyedReceipts()
    receipts.add(publication("k"), Receipt(7, None), NOW)

    assert receipts.get(publication("k"), NOW + KEY_SECONDS - 1) == Receipt(7, None)
    assert receipts.get(publication("k"), NOW + KEY_SECONDS) is None
    assert receipts.get(publication("k", "b"), NOW) is None
    assert receipts.get(publication("other"), NOW) is None


def test_a_publication_without_a_key_has_none() -> None:
    receipts = KeyedReceipts()
    receipts.add(publication(None), Receipt(7, None), NOW)

    assert len(receipts) == 0
    assert receipts.get(publication(None), NOW) is None


def test_the_oldest_is_dropped_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_receipts, "MAX_KEYS", 2)
    receipts = KeyedReceipts()
    for number, key in enumerate("abc"):
        receipts.add(publication(key), Receipt(number, None), NOW)

    assert [receipts.get(publication(key), NOW) for key in "abc"] == [
        None,
        Receipt(1, None),
        Receipt(2, None),
    ]


def test_no_more_than_asked_for_expire_at_once() -> None:
    receipts = KeyedReceipts()
    for number, key in enumerate("abc"):
        receipts.add(publication(key), Receipt(number, None), NOW + number)

    assert receipts.expire(NOW + KEY_SECONDS + 1, most=1) == 1
    assert receipts.expire(NOW + KEY_SECONDS + 1, most=5) == 1
    assert len(receipts) == 1
