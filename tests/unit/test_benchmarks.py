"""The table of benchmarks: all are run, and what it says follows from the times."""

import json
from pathlib import Path

import benchmark_table as table
import pytest
import run_benchmarks as run


def test_all_benchmarks_are_run():
    files = {path.stem for path in run.FOLDER.glob("*.py")} - {"run_benchmarks", "benchmark_table"}
    assert set(run.COMMANDS) == files


def test_ratios_and_exponents_follow_from_the_times(monkeypatch, tmp_path):
    monkeypatch.setenv(table.ROWS, str(tmp_path / "rows"))
    table.against("scoring", 0.5, "loop", 1.25)
    table.at_best("drawing", 3.0, 1.5)
    table.growth("search", "images", [10, 100, 1000], [0.003, 0.3, 30])
    rows = [table.Row(*row) for row in map(json.loads, (tmp_path / "rows").read_text().splitlines())]
    assert [row.ratio for row in rows] == ["2.5", "2.0 times the least", "grows with the power 2.0"]
    assert table.rendered(rows).splitlines()[2] == "| scoring | 500 ms | loop | 1.2 s | 2.5 |"


@pytest.mark.parametrize(("seconds", "text"), [(75.3, "75 s"), (1.26, "1.3 s"), (0.034, "34 ms"), (5.6e-5, "56 µs")])
def test_times_have_two_digits(seconds, text):
    assert table.shown(seconds) == text


def test_the_readme_keeps_everything_but_the_table():
    text = f"before\n{run.BEGIN}\n| old |\n{run.END}\nafter\n"
    assert run.with_table(text, "| new |\n") == f"before\n{run.BEGIN}\n| new |\n{run.END}\nafter\n"
    assert run.with_table(run.README.read_text("utf-8"), "") != run.README.read_text("utf-8")


def test_a_benchmark_that_fails_is_named(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(run, "FOLDER", Path(tmp_path))
    monkeypatch.setattr(run, "COMMANDS", {"broken": []})
    with pytest.raises(SystemExit, match=r"broken\.py: ended with status 3"):
        run.rows_of("broken", 1, tmp_path / "rows")
