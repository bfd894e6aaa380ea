"""How a collection on a server is laid out: what it is made with, and how it is searched then."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_client import models

from cervella_rag.vectors.payload import DENSE, WINDOWS

_QUANTISATIONS: dict[str, models.QuantizationConfig | None] = {
    "none": None,
    # A hundredth of the values, the farthest out, is cut off, so that they do not widen the steps of all.
    # Reference: https://qdrant.tech/documentation/guides/quantization/#setting-up-scalar-quantization
    "int8": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    ),
    "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a collection is laid out where it is made; None is what the server does by itself.

    Attributes:
        quantisation: "none", "int8" or "binary": the searched vectors once more, small and in memory.
        oversampling: How many times the candidates are looked for with those, at least 1.
        on_disk: The whole vectors stay on disk.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    quantisation: str = "none"
    oversampling: float = 2.0
    on_disk: bool = False


PLAIN = Layout()
"""What the server does by itself."""


def vector_params(dimension: int, layout: Layout) -> dict[str, models.VectorParams]:
    """Chunks are searched; windows only score what was found: they need no graph, and half floats do.

    Only what is searched is quantised: what is scored is scored whole.
    """
    on_disk = layout.on_disk or None
    return {
        DENSE: models.VectorParams(
            size=dimension,
            distance=models.Distance.COSINE,
            quantization_config=_QUANTISATIONS[layout.quantisation],
            on_disk=on_disk,
        ),
        WINDOWS: models.VectorParams(
            size=dimension,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            datatype=models.Datatype.FLOAT16,
            hnsw_config=models.HnswConfigDiff(m=0),
            on_disk=on_disk,
        ),
    }


def search_params(layout: Layout) -> tuple[models.SearchParams | None, models.SearchParams | None]:
    """Return how candidates are found among quantised vectors, and that they are scored by whole ones."""
    if layout.quantisation == "none":
        return None, None
    found = models.QuantizationSearchParams(rescore=True, oversampling=layout.oversampling)
    scored = models.QuantizationSearchParams(ignore=True)
    return models.SearchParams(quantization=found), models.SearchParams(quantization=scored)
