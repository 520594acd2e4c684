"""Whether two extensions are the same when only their hooks differ.

Not here: the other rules of registering again (`tests/seeds/test_registrations.py`).
"""

from __future__ import annotations

from typing import Any

import pytest

import heavenbase as hb
from heaven_core.errors import RegistrationConflict
from heaven_core.registry import same_source
from heaven_core.testing import isolated_registries

pytestmark = pytest.mark.unit


class Quiet:
    pass


class Loud:
    @hb.ext.hookimpl
    def heaven_after_commit(self, commit: Any) -> None:
        print(commit)


def _extension(plugin: Any) -> hb.ext.Extension:
    return hb.ext.Extension(hb.ext.ExtensionSpec("noise"), plugin=plugin)


@pytest.mark.parametrize(
    ("one", "two"),
    [(Quiet, Loud), ("hb_noise:Quiet", "hb_noise:Loud"), (None, Loud), (Quiet(), Loud()), (Quiet, "a:b")],
)
def test_extensions_with_other_hooks_are_other_extensions(one: Any, two: Any) -> None:
    with isolated_registries():
        hb.ext.register_extension(_extension(one))

        with pytest.raises(RegistrationConflict):
            hb.ext.register_extension(_extension(two))


@pytest.mark.parametrize("plugin", [Quiet, Loud, "hb_noise:Loud", None])
def test_extensions_with_the_same_hooks_are_the_same(plugin: Any) -> None:
    assert same_source(_extension(plugin), _extension(plugin))


def test_two_instances_of_one_class_are_the_same_hooks() -> None:
    assert same_source(_extension(Loud()), _extension(Loud()))
