"""The engine keeps what every storage engine promises, and its files are Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import heavenbase as hb
from heaven_core.testing import StorageConformance


class TestParquetfile(StorageConformance):
    """The conformance kit of HeavenBase."""

    backend = "parquetfile"


class Sale(hb.Entity):
    """What some tests store."""

    shop = hb.field(hb.ShortText)
    amount = hb.field(hb.Float).store(to="files")
    note = hb.field(hb.LongText).store(to="files")


BACKENDS = {"main": "sqlite", "files": "parquetfile"}


def test_the_rows_can_be_read_with_any_tool_that_reads_parquet(tmp_path: Path) -> None:
    with hb.HeavenBase("shop", backends=BACKENDS, path=tmp_path / "shop") as ws:
        ws.register(Sale)
        one = ws.upsert(Sale, {"shop": "north", "amount": 12.5, "note": "cash"})

    found = pq.read_table(tmp_path / "shop" / "files" / "sale.parquet").to_pylist()

    assert [(row["object_id"], row["amount"], row["note"]) for row in found] == [(one, 12.5, "cash")]


def test_what_the_engine_compares_by_itself_is_native(tmp_path: Path) -> None:
    with hb.HeavenBase("shop", backends=BACKENDS, path=tmp_path / "shop") as ws:
        ws.register(Sale)

        assert ws.query(Sale).where(Sale.note >= "c").explain().native
        assert not ws.query(Sale).where(Sale.amount > 1).explain().native


def test_a_damaged_file_is_a_typed_error_and_no_rows(tmp_path: Path) -> None:
    with hb.HeavenBase("shop", backends=BACKENDS, path=tmp_path / "shop") as ws:
        ws.register(Sale)
        ws.upsert(Sale, {"shop": "north", "amount": 12.5})
        (tmp_path / "shop" / "files" / "sale.parquet").write_bytes(b"no table")

        with pytest.raises(hb.errors.StorageError, match="cannot be read"):
            ws.query(Sale).where(Sale.amount > 1).execute()
