"""What was measured gets into the page, and nothing else there changes."""

from __future__ import annotations

from bench.publish import PAGE, put, section, table

RESULT = {
    "figure": "hot_path",
    "title": "hot path",
    "measured_at": "2026-11-03T10:00:00Z",
    "machine": {"processor": "Processor", "cores": 2, "load_average": [0.5, 0.4, 0.3]},
    "versions": {"python": "3.11.7", "kafka": "4.4.0"},
    "settings": {"calls": 300_000},
    "summary": {
        "bare": {"calls/s": {"min": 1000.0, "median": 2000.0, "max": 3000.0}},
        "meter": {"calls/s": {"min": 1.5, "median": 1.5, "max": 1.5}, "ratio": {"min": 0.5, "median": 0.5, "max": 0.5}},
    },
}


def test_a_table_has_medians_and_ranges():
    assert table(RESULT) == (
        "|  | calls/s | ratio |\n| --- | ---: | ---: |\n| bare | 2,000 (1,000 to 3,000) |  |\n| meter | 1.50 | 0.50 |"
    )


def test_only_what_was_measured_is_replaced():
    page = "before\n<!-- figure: hot_path -->\nold\n<!-- end -->\n<!-- figure: sink -->\nkept\n<!-- end -->\n"
    done = put(page, {"hot_path": RESULT})
    assert "old" not in done
    assert section(RESULT) in done
    assert done.startswith("before\n<!-- figure: hot_path -->\n")
    assert done.endswith("<!-- figure: sink -->\nkept\n<!-- end -->\n")
    assert put(done, {"hot_path": RESULT}) == done


def test_the_page_has_a_place_for_every_figure():
    from bench.__main__ import FIGURES

    page = PAGE.read_text()
    assert [name for name in FIGURES if f"<!-- figure: {name} -->" not in page] == []
