"""The parquetfile engine: one Parquet file per entity. The declaration only, so that listing it costs nothing."""

from heaven_core.plugin import StoragePlugin

PLUGIN = StoragePlugin(
    "parquetfile",
    backend="hb_parquetfile.engine:ParquetfileBackend",
    handlers="hb_parquetfile.handlers:handlers",
    requires=("pyarrow",),
    api=1,
    desc="one Parquet file per entity, beside a primary",
    distribution="hb-parquetfile",
)
