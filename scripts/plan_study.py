"""Print what a study costs before it runs: make plan STUDY=paper

Jobs and submissions to SLURM, GPU hours, memory, disk, and the longest chain of submissions. Rates are measured where
studies with the same networks have finished (results/<study>/benchmarks), and else assumed (config/rates.yaml).
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from fmri2img import disk
from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY
from fmri2img.planning import Measured, by_rule, longest_chain, measured_rates, plan, planned_jobs
from fmri2img.settings.files import read_files, study_files
from fmri2img.study import Study

BEGIN, END = "<!-- plan: begin (scripts/plan_study.py --readme) -->", "<!-- plan: end -->"
README = REPOSITORY / "README.md"
SMALL = 20  # GPU hours, or a tenth of processor hours, below which rows of the README's table are one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "study", nargs="*", default=["paper"], help="studies of config/, or configuration files, laid over another"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of finished studies")
    parser.add_argument("--readme", action="store_true", help="write the README's table, from assumed rates alone")
    arguments = parser.parse_args()
    try:
        files = study_files(arguments.study)
        if arguments.readme:
            table = readme_table(Study(read_files(files)), plan(planned_jobs(files), Measured({}, {})))
            README.write_text(with_table(README.read_text("utf-8"), table), encoding="utf-8")
        else:
            print(report(files, measured_rates(sorted(arguments.results.glob("*")))))
    except UserError as error:
        sys.exit(f"Error: {error}")
    return 0


def report(files: list[str], measured: Measured) -> str:
    study, table = Study(read_files(files)), plan(planned_jobs(files), measured)
    rows = by_rule(table, measured.peaks)
    shown = rows.assign(
        gpu_hours=rows["gpu_hours"].map("{:.1f}".format),
        cpu_hours=rows["cpu_hours"].map("{:.1f}".format),
        longest=rows["longest"].map("{:.1f} h".format),
        gb=rows["gb"].map("{:.0f}".format),
        peak_gb=rows["peak_gb"].map(lambda value: "" if pd.isna(value) else f"{value:.1f}"),
    )
    lines = [f"Study {study.name}", "", shown.to_string(index=False), "", *summary(study, table)]
    return "\n".join(lines)


def summary(study: Study, table: pd.DataFrame) -> list[str]:
    """Totals, disk, and the longest chain, a line each."""
    hours = table["seconds"] / 3600
    gpu, cpu = hours @ table["gpus"], hours[table["gpus"] == 0] @ table["threads"][table["gpus"] == 0]
    chain, longest = longest_chain(table)
    share = hours[table["source"] == "measured"].sum() / hours.sum()
    parts = ", ".join(f"{what} {size / 1e9:.0f} GB" for what, size in disk.results_parts(study).items() if size > 5e8)
    total = sum(disk.bytes_by_folder(study).values())
    return [
        f"{len(table)} jobs in {table['submission'].nunique()} submissions, {gpu:.0f} GPU hours, {cpu:.0f} processor "
        f"hours; {share:.0%} of the time is measured, the rest estimated",
        f"Largest job: {table['mem_mb'].max() / 1000:.0f} GB of memory",
        f"Disk: {total / 1e12:.1f} TB ({parts}; the rest are recordings and stimuli)",
        f"Longest chain, with a GPU for every job: {longest:.0f} hours in {len(chain)} steps: {' -> '.join(chain)}",
    ]


def readme_table(study: Study, table: pd.DataFrame) -> str:
    """The table of the README and the lines below it. table: of `plan`, with assumed rates."""
    rows = by_rule(table, {})
    small = (rows["gpu_hours"] < SMALL) & (rows["cpu_hours"] < 10 * SMALL)
    others = rows[small]
    lines = [
        "| rule, and method | jobs | submissions | GPU hours | longest job | memory |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows[~small].sort_values("gpu_hours", ascending=False, kind="stable").itertuples():
        rule, _, folder = row.what.partition(" ")
        name = f"`{rule}`" + (f", {folder}" if folder else "")
        hours = f"{row.gpu_hours:,.0f}" if row.gpu_hours else f"none, {row.cpu_hours:,.0f} of processors"
        lines.append(f"| {name} | {row.jobs} | {row.submissions} | {hours} | {row.longest:.1f} h | {row.gb:.0f} GB |")
    lines.append(
        f"| {len(others)} others | {others['jobs'].sum()} | {others['submissions'].sum()} | "
        f"{others['gpu_hours'].sum():,.0f} | {others['longest'].max():.1f} h | {others['gb'].max():.0f} GB |"
    )
    return "\n".join([*lines, "", *(f"{line}.  " for line in summary(study, table))])


def with_table(text: str, table: str) -> str:
    """The README with this table between its markers. Raises UserError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{README}: has no lines {BEGIN} and {END}; put them where the table belongs")
    return f"{before}{begin}\n{table}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
