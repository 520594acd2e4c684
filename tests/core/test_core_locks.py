"""Schema changes and transactions of several threads: nobody waits for somebody who waits for him.

Not here: what registering does (`tests/core/test_core.py`).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

import heavenbase as hb
from heaven_core.testing import isolated_registries

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


class Known(hb.Entity):
    x = hb.field(hb.Integer)


class Fresh(hb.Entity):
    x = hb.field(hb.Integer)


def _register(ws: hb.HeavenBase) -> None:
    ws.register(Fresh)


def _enable(ws: hb.HeavenBase) -> None:
    ws.enable_extension("fresh")


@pytest.mark.parametrize("change", [_register, _enable])
@pytest.mark.parametrize("preset", ["local", "debug"])
def test_a_transaction_goes_on_while_a_change_of_schema_waits_for_it(
    change: Callable[[hb.HeavenBase], None], preset: str
) -> None:
    with isolated_registries(), hb.HeavenBase("locks", preset=preset) as ws:
        hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("fresh", entities=(Fresh,))))
        ws.register(Known)
        waiting = threading.Thread(target=change, args=(ws,))
        with ws.transaction(exclusive=True) as tx:
            waiting.start()
            time.sleep(0.2)  # until it waits for the writers' lock
            started = time.monotonic()
            found = tx.get("nowhere")  # looks at every entity, so it needs the list of them
            seconds = time.monotonic() - started
        waiting.join()

        assert found is None
        assert seconds < 5
        assert ws.count(Fresh) == 0
