"""Scores by where the test images come from, next to the networks that were trained on those images.

Values are those of Scores: an image keeps its place among all images of its test set, of whatever source, in
identification and retrieval. Only the means are taken by source.
"""

from dataclasses import replace

import pandas as pd

from fmri2img.reporting.design import Design
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.tables import Cell, Column, Row, Table, column, score_cell, tidy
from fmri2img.reporting.training_data import trained_on

COLUMNS = ["trained_on_source", "not_published"]  # of a row's method, names of networks
LISTED = 4  # networks that a cell or a sentence names


def groups_of(table: pd.DataFrame, flags: pd.Series) -> pd.Series:
    """Group of each image by image_id: its source, and apart from the others those that are flagged.

    table: of Stimuli; flags: `Stimuli.flags`.
    """
    source = table.set_index("image_id")["source"].astype(str)
    flagged = flags.reindex(source.index).fillna("")
    return source.where(flagged == "", source + ", flagged: " + flagged)


def cells_by_source(
    scores: dict[str, pd.DataFrame], designs: dict[str, Design], table: pd.DataFrame, flags: pd.Series
) -> pd.DataFrame:
    """`tidy` estimates at the longest budget for each test set and group of its images (columns test_set, source).

    scores, designs: as in `cells_by_test_set`, with `Design.of_images`. Metrics whose values mean nothing for a part of
    the images (of the whole set, jackknife values) are left out. A subject that saw no image of a group does not count
    there (n_subjects).
    """
    groups, parts = groups_of(table, flags), []
    for test_set, of_set in scores.items():
        design, group = designs[test_set].of_images().at_longest(), of_set["image_id"].map(groups)
        for name in sorted(group.dropna().unique()):
            own = of_set[group == name]
            seen_by = [subject for subject in design.subjects if (own["subject"] == subject).any()]
            cells = tidy(estimates(own, replace(design, subjects=seen_by)), design)
            at = cells.columns.get_loc("split") + 1
            cells.insert(at, "test_set", test_set)
            cells.insert(at + 1, "source", name)
            parts.append(cells)
    return pd.concat(parts, ignore_index=True)


def with_training_data(cells: pd.DataFrame, study, design: Design) -> pd.DataFrame:
    """`cells_by_source` with COLUMNS: networks of the method that were trained on a collection that holds the source's
    pictures, and those of which it is not published; "" for none. study: a `fmri2img.study.Study`."""
    found = {}
    for method, entry in design.methods.items():
        for source, collections in study.dataset.image_sources.items():
            seen, unknown = trained_on(study, method, collections) if collections else ([], [])
            if entry["kind"] == "submission" and collections:
                unknown = [f"the networks of {entry['title']}"]
            found[method, source] = ", ".join(seen), ", ".join(unknown)
    bare = cells["source"].str.split(", flagged: ", n=1).str[0]
    values = [found.get(key, ("", "")) for key in zip(cells["method"], bare, strict=True)]
    return cells.assign(**{name: [value[n] for value in values] for n, name in enumerate(COLUMNS)})


def source_table(cells: pd.DataFrame, design: Design) -> Table:
    """`with_training_data` as a page: methods down, each with every test set and source; metrics across."""
    cells = cells.fillna(dict.fromkeys(COLUMNS, ""))
    several = cells["test_set"].nunique() > 1
    metrics = [name for name in design.metrics if (cells["metric"] == name).any()]
    lookup = cells.set_index(["method", "test_set", "source", "metric"]).sort_index()
    places = list(cells[["test_set", "source"]].drop_duplicates().itertuples(index=False, name=None))
    rows = []
    for method, entry in design.methods.items():
        for number, place in enumerate(places):
            values = [
                score_cell(*lookup.loc[(method, *place, metric), ["mean", "low", "high"]], design.metrics[metric])
                for metric in metrics
            ]
            first = lookup.loc[(method, *place)].iloc[0]
            unknown = f"not published: {shortened(first[COLUMNS[1]])}" if first[COLUMNS[1]] else "none known"
            images = int(lookup.loc[(method, *place), "n_images"].max())
            heads = ["" if number else entry["title"], *(place if several else place[1:]), f"{images:,}"]
            rows.append(
                Row(heads, [*values, Cell(shortened(first[COLUMNS[0]]) or unknown)], number == 0 and bool(rows))
            )
    chances = cells.drop_duplicates("metric").set_index("metric")["chance"] if not several else {}
    columns = [
        column(design.metrics[name] | {"chance": None if pd.isna(chances.get(name)) else chances.get(name)})
        for name in metrics
    ]
    heads = ["Method", *(["Test set"] if several else []), "Source", "Images"]
    title = f"Scores by image source, trained on {design.budget(design.longest_budget).title}"
    return Table(title, heads, [*columns, Column("Networks trained on it")], rows, source_note(cells, design))


def shortened(names: str) -> str:
    """The first names of a list, and how many more there are."""
    listed = [name for name in names.split(", ") if name]
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more


def source_note(cells: pd.DataFrame, design: Design) -> str:
    """How to read the table, and which methods may know test images from the training of their networks."""
    text = (
        f"Mean [{100 * design.confidence:g} % interval, {design.resamples} bootstrap resamples of the images of the "
        "source]. In identification and retrieval an image is compared with all images of its test set, of every "
        "source; the means alone are by source. "
    )
    for source, part in cells.groupby("source", sort=False):
        seen = part[(part[COLUMNS[0]] != "") & part["method"].isin(design.methods)]
        if len(seen):
            networks = ", ".join(dict.fromkeys(name for names in seen[COLUMNS[0]] for name in names.split(", ")))
            methods = [design.methods[name]["title"] for name in dict.fromkeys(seen["method"])]
            text += (
                f"Confound: networks of {shortened(', '.join(methods))} ({shortened(networks)}) were trained on a "
                f"collection that holds the pictures of {source}, so they may have seen these test images. "
            )
    unknown = cells[(cells[COLUMNS[1]] != "") & cells["method"].isin(design.methods)]
    if len(unknown):
        networks = ", ".join(dict.fromkeys(name for names in unknown[COLUMNS[1]] for name in names.split(", ")))
        text += f"It is not published what {shortened(networks)} were trained on. "
    return f"{text}Split {design.split}, {design.data}."
