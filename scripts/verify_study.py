"""Compare all files of a study with the checksums that were recorded when they were written: make verify STUDY=demo

A damaged file is named with the rule that made it and with what must be made again. The exit status is then 1.
"""

import argparse
import sys

from fmri2img.errors import UserError
from fmri2img.job_graph import read_graph
from fmri2img.settings.files import study_files
from fmri2img.verification import jobs_of, report, verify


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "study", nargs="*", default=["demo"], help="studies of config/, or configuration files, laid over another"
    )
    try:
        files = study_files(parser.parse_args().study)
        jobs = read_graph(files, jobs_of)
    except UserError as error:
        sys.exit(f"Error: {error}")
    verified = verify(jobs)
    overlays = f" --configfile {' '.join(files)}" if files else ""
    print("\n".join(report(jobs, verified, f"snakemake --cores all{overlays}")))
    return bool(verified.damaged)


if __name__ == "__main__":
    sys.exit(main())
