"""The public interface, written out: a change of a name or a signature has to be made here too, so it is deliberate.

Not here: that the pages mention each name (`tests/docs/test_code_blocks.py`).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

import heavenbase as hb
import heavenbase.ext

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.unit

HEAVENBASE = """
    Array Artifact Boolean Cancellation Catalog Categorical ConfigLayer Date Duration Entity EntitySchema ExternalRef
    Field FieldSchema Float HeavenBase HeavenError Identifier InlineColumn Integer InvertedIndex Json JsonField
    LogicalType LongText MediumText MetaSchema Query ResultFrame ShortText SideTable Strategy SuffixIndex Timestamp
    Transaction TrigramIndex Vector VectorIndex __version__ capabilities config errors ext field
"""

EXT = """
    API Backend BackendConfig Extension ExtensionSpec FieldSchema Handler HandlerContext HandlerRegistry Hints Key
    LogicalType Op Primary QueryFragment Refused Registration StoragePlugin StorageProfile StoreChoice Strategy View
    hookimpl register_backend_builder register_backend_class register_extension register_handler
    register_handler_plugin register_logical_type register_op register_storage_profile register_strategy
    system_entities
"""

ACCESS = """
    count(entity: Any, filter: Any = None) -> int
    delete(object_id: str, entity: Any = None) -> bool
    delete_many(ids: Iterable[str], entity: Any = None) -> int
    entity(identifier: Any) -> type[Entity]
    exists(object_id: str, entity: Any = None) -> bool
    explain(query: Query, *, analyze: bool = False) -> Explanation
    get(object_id: str, entity: Any = None) -> dict[str, Any] | None
    get_many(ids: Iterable[str], entity: Any = None) -> list[dict[str, Any] | None]
    ids(entity: Any) -> list[str]
    load(entity: Any, path: Any, *, format: str | None = None, progress: Callable[[int], Any] | None = None) -> int
    query(entity: Any) -> Query
    query_json(entity: Any, spec: Mapping[str, Any]) -> Query
    set(object_id: str, values: Mapping[str, Any], entity: Any = None) -> str
    upsert(entity: Any, row: Mapping[str, Any] | Entity) -> str
    upsert_many(entity: Any, rows: Any, *, progress: Callable[[int], Any] | None = None) -> list[str]
    version(object_id: str, entity: Any = None) -> int | None
    versions(entity: Any, ids: Sequence[str]) -> list[int | None]
"""

SEAMS = """
    core() -> WorkspaceCore
    run_query(query: Query) -> ResultFrame
"""
"""What queries and derived entities call on a workspace or a transaction."""

WORKSPACE = """
    HeavenBase(id: str, *, preset: str | None = None, backends: Mapping[str, Any] | None = None, path: str | Path | None = None) -> None
    aio: AsyncWorkspace
    capabilities: CapabilityIndex
    check() -> Report
    close() -> None
    drop() -> None
    enable_extension(identifier: str) -> ExtensionSpec
    extensions() -> list[ExtensionSpec]
    folder: Path | None
    health() -> Health
    register(*entities: type[Entity]) -> Any
    repair() -> Report
    transaction(exclusive: bool = False) -> Generator[Transaction]
"""  # noqa: E501  # one signature, one line

TRANSACTION = """
"""

QUERY = """
    aggregate(/, **named: Any) -> Query
    count() -> int
    execute() -> ResultFrame
    explain(*, analyze: bool = False) -> Explanation
    group_by(*fields: Any) -> Query
    having(condition: Expr | Mapping[str, Any]) -> Query
    iter_frames(size: int = 1000) -> Iterator[ResultFrame]
    limit(count: int | None) -> Query
    limits(/, **bounds: Any) -> Query
    near(field: Any, query: Any, top_k: int = 10, metric: str = 'cosine') -> Query
    offset(count: int) -> Query
    order_by(*keys: Any, desc: bool = False) -> Query
    search(query: str, fields: Any = None) -> Query
    select(*fields: Any) -> Query
    to_dict() -> dict[str, Any]
    where(*conditions: Expr | Mapping[str, Any]) -> Query
"""

FRAME = """
    bars(*columns: str) -> Bars
    column(name: str) -> list[Any]
    columns: tuple[str, ...]
    dtypes: Mapping[str, LogicalType[Any]]
    head(count: int = 10) -> ResultFrame
    highlights(field: str, *, before: str = '**', after: str = '**', width: int | None = 160, escape: Callable[[str], str] | None = None) -> list[str | None]
    ids: list[str]
    iter_batches(size: int = 1000) -> Iterator[list[dict[str, Any]]]
    iter_frames(size: int = 1000) -> Iterator[ResultFrame]
    plot(*columns: str, ax: Any = None) -> Any
    rank: str | None
    rows() -> list[dict[str, Any]]
    scalar() -> Any
    scores: list[float] | None
    to_arrow() -> Any
    to_dict() -> dict[str, list[Any]]
    to_pandas() -> Any
    to_parquet(path: Any) -> None
    to_polars() -> Any
"""  # noqa: E501


@pytest.mark.parametrize(("module", "names"), [(hb, HEAVENBASE), (heavenbase.ext, EXT)], ids=["heavenbase", "ext"])
def test_a_module_has_exactly_these_names(module: ModuleType, names: str) -> None:
    assert module.__all__ == names.split()


@pytest.mark.parametrize("module", [hb, heavenbase.ext], ids=["heavenbase", "ext"])
def test_names_are_sorted_and_each_can_be_imported(module: ModuleType) -> None:
    missing = [name for name in module.__all__ if not hasattr(module, name)]

    assert missing == []
    assert module.__all__ == sorted(module.__all__)


def test_dir_of_the_face_is_what_it_exports() -> None:
    assert dir(hb) == sorted(hb.__all__)


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'heavenbase' has no attribute 'Entitty'"):
        _ = hb.Entitty
    with pytest.raises(AttributeError, match="has no attribute 'register_operation'"):
        _ = heavenbase.ext.register_operation


@pytest.mark.parametrize(
    ("cls", "written"),
    [
        (hb.HeavenBase, (ACCESS, SEAMS, WORKSPACE)),
        (hb.Transaction, (ACCESS, SEAMS, TRANSACTION)),
        (hb.Query, (QUERY,)),
        (hb.ResultFrame, (FRAME,)),
    ],
    ids=["HeavenBase", "Transaction", "Query", "ResultFrame"],
)
def test_a_class_has_exactly_these_public_methods(cls: type, written: tuple[str, ...]) -> None:
    expected = sorted(line.strip() for text in written for line in text.strip().splitlines())

    assert sorted(_signatures(cls)) == expected


def _signatures(cls: type) -> list[str]:
    """The public methods and properties of a class; the constructor too where the class is made by users."""
    found = [f"{cls.__name__}{_signature(cls.__init__)}"] if cls is hb.HeavenBase else []
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        if name.startswith("_"):
            continue
        if inspect.isfunction(member):
            found.append(f"{name}{_signature(member)}")
        elif isinstance(member, property):
            found.append(f"{name}: {inspect.signature(member.fget).return_annotation}")  # pyright: ignore[reportArgumentType]
    return found


def _signature(function: object) -> str:
    """The signature without `self`, annotations as they are written."""
    signature = inspect.signature(function)  # pyright: ignore[reportArgumentType]
    parameters = [one.replace(annotation=_Written(one.annotation)) for one in signature.parameters.values()]
    said = signature.replace(parameters=parameters[1:], return_annotation=_Written(signature.return_annotation))
    text = str(said)
    return text if parameters[0].kind is not inspect.Parameter.POSITIONAL_ONLY else text.replace("(", "(/, ", 1)


class _Written:
    """An annotation that is shown without quotation marks."""

    def __init__(self, text: object) -> None:
        self.text = text

    def __repr__(self) -> str:
        return str(self.text)
