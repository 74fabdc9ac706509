import io
import re
from pathlib import Path

import pytest
from PIL import Image

from lookalike.errors import ConfigError
from lookalike.search import QueryResult, SimilarImage
from lookalike.search.output import check_room
from lookalike.search.page import render_page, save_page
from lookalike.search.picture import _font, draw_results, fit_text, result_size, save_picture, tile_layout

HOSTILE = '<img onerror="alert(1)">.jpg'


def result_of(tmp_path, n: int, label: str = "sailboat", error: str | None = None) -> QueryResult:
    stream = io.BytesIO()
    Image.new("RGB", (60, 30), (200, 30, 30)).save(stream, "PNG")
    (tmp_path / HOSTILE).write_bytes(stream.getvalue())
    neighbors = tuple(
        SimilarImage(rank, "0" * 64, HOSTILE, label, distance=rank / 200, similarity=1 - rank / 200)
        for rank in range(1, n + 1)
    )
    return QueryResult(
        query=f"/some/where/{HOSTILE}",
        neighbors=neighbors,
        candidates=n,
        latency_ms=1.0,
        error=error,
        dataset_root=tmp_path,
        query_image=stream.getvalue(),
    )


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7, 12, 13, 40, 41, 99, 100])
def test_every_neighbor_is_drawn_inside_the_picture(tmp_path, n):
    picture = draw_results([result_of(tmp_path, n)])
    # The tiles are red; count them by their centres, which lie on white otherwise.
    red = sum(1 for pixel in picture.get_flattened_data() if pixel == (200, 30, 30))
    columns, side = tile_layout(n)
    assert red > n * side * side * 0.4
    assert columns * -(-n // columns) >= n
    assert max(picture.size) < 3000


@pytest.mark.parametrize("n", range(1, 101))
def test_layout_is_wider_than_high_and_holds_all(n):
    columns, side = tile_layout(n)
    rows = -(-n // columns)
    assert columns * rows >= n
    assert (columns - 1) * rows < n or rows == 1
    assert columns >= rows
    assert side >= 100


def test_nothing_is_drawn_on_the_border_of_the_picture(tmp_path):
    picture = draw_results([result_of(tmp_path, 7, label="a label that is far too long for any tile " * 3)])
    width, height = picture.size
    border = [picture.getpixel((x, y)) for x in range(width) for y in (0, height - 1)]
    border += [picture.getpixel((x, y)) for y in range(height) for x in (0, width - 1)]
    assert set(border) == {(255, 255, 255)}


def test_long_text_ends_in_an_ellipsis_and_fits():
    text = fit_text("a very long label indeed", 80, _font())
    assert text.endswith("…")
    assert _font().getlength(text) <= 80
    assert fit_text("short", 80, _font()) == "short"


def test_a_missing_image_leaves_a_note_and_no_error(tmp_path):
    result = result_of(tmp_path, 2)
    (tmp_path / HOSTILE).unlink()
    assert draw_results([result]).size[0] > 0
    assert "image not available" in render_page([result])


def test_an_error_and_no_neighbors_still_give_a_picture(tmp_path):
    assert draw_results([result_of(tmp_path, 0, error="no such image")]).size[1] > 100


def test_picture_files_are_what_their_ending_says(tmp_path):
    for name, image_format in (("a.png", "PNG"), ("b.jpg", "JPEG")):
        save_picture([result_of(tmp_path, 3)], tmp_path / "out" / name)
        with Image.open(tmp_path / "out" / name) as image:
            assert image.format == image_format
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.jpg"]


@pytest.mark.parametrize("n", [1, 6, 20, 100])
def test_the_size_of_a_result_is_known_before(tmp_path, n):
    assert draw_results([result_of(tmp_path, n)]).size == result_size(n)
    assert draw_results([result_of(tmp_path, n)] * 3).size == (result_size(n)[0], 3 * result_size(n)[1])


@pytest.mark.parametrize("ending", [".jpg", ".JPEG", ".png", ".html"])
@pytest.mark.parametrize("n", [1, 6, 100, 5000, 40_000])
def test_what_a_picture_holds_is_known_before(ending, n):
    output = Path(f"result{ending}")
    width, height = result_size(n)
    limit = 65_500 if ending.lower() != ".png" else 10**9
    fitting = 0 if width > limit else min(limit // height, 200_000_000 // (width * height))
    if ending == ".html":
        check_room(output, 100_000, n)
        return
    if fitting:
        check_room(output, fitting, n)
    with pytest.raises(ConfigError, match=r"^result\.\w+ can hold .*write .*a \.html page, or") as failure:
        check_room(output, fitting + 1, n)
    assert f"can hold {fitting} queries of {n} neighbors, got {fitting + 1}" in str(failure.value)


def test_the_case_that_threw_answers_away():
    with pytest.raises(ConfigError, match=r"can hold 75 queries of 6 neighbors, got 130; write a \.png picture or a"):
        check_room(Path("many.jpg"), 130, 6)
    check_room(Path("many.png"), 130, 6)


def test_page_escapes_names_and_fetches_nothing(tmp_path):
    page = render_page([result_of(tmp_path, 3, label="<script>alert(1)</script>", error=None)])
    assert "<script>" not in page
    assert "<img onerror" not in page
    assert "&lt;img onerror" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_page_shows_several_results_and_errors(tmp_path):
    save_page([result_of(tmp_path, 1), result_of(tmp_path, 0, error="it is <b>broken</b>")], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<section>") == 2
    assert "it is &lt;b&gt;broken&lt;/b&gt;" in page
