"""A hashed content of one segment as parameters and arrays by name, and back."""

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from lookalike.lsh.content import Content, Segment, content_of_segment
from lookalike.lsh.hyperplanes import Hyperplanes
from lookalike.lsh.sketches import no_alignments
from lookalike.lsh.space import Lift, VectorSpace
from lookalike.lsh.tables import Tables


def stored_content(content: Content) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Parameters fit for JSON, and arrays other than vectors, ids and mean."""
    segment, tables, planes, lift = content.main, content.main.tables, content.planes, content.space.lift
    arrays: dict[str, NDArray[Any]] = {
        "scales": segment.scales,
        "sketches": segment.sketches,
        "alignments": segment.alignments,
        "table_rows": tables.rows,
        "table_starts": tables.starts,
        "table_keys": tables.keys,
        "table_offsets": tables.table_offsets,
        "normals": planes.normals,
        **({} if lift is None else {"lift_mean": lift.mean}),
        **content.stored_copies(),
    }
    parameters = {"n_bits": planes.n_bits, "n_tables": planes.n_tables, "follows_mean": content.follows_mean}
    return parameters if lift is None else {**parameters, "radius": lift.radius}, arrays


def restored_content(space: VectorSpace, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Content:
    """The content that was stored, also by earlier formats."""
    alignments = arrays.get("alignments", no_alignments(len(arrays["ids"])))
    is_orthogonal = alignments.shape[1] > 0
    planes = Hyperplanes(arrays["normals"], parameters["n_tables"], parameters["n_bits"], is_orthogonal)
    if space.metric == "inner_product":
        space = replace(space, lift=Lift(parameters["radius"], arrays["lift_mean"]))
    tables = Tables(*(arrays[f"table_{name}"] for name in ("rows", "starts", "keys", "offsets")))
    segment = Segment(arrays["vectors"], arrays["scales"], arrays["sketches"], alignments, tables)
    content = content_of_segment(segment, arrays["ids"], space, planes, arrays.get("copies"))
    return replace(content, follows_mean=parameters.get("follows_mean", False))
