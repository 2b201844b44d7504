"""Print what a finished study found: python scripts/print_summary.py results/demo --config config/config.yaml"""

import argparse
import sys
from pathlib import Path

from fmri2img.errors import UserError
from fmri2img.reporting.design import Design
from fmri2img.reporting.summary import print_summary
from fmri2img.settings.files import read_files
from fmri2img.study import Study


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of the study, e.g. results/demo")
    parser.add_argument("--config", type=Path, required=True, help="configuration of the study")
    parser.add_argument("--seconds", type=float, help="wall time of the run")
    parser.add_argument("--peak-mb", type=float, help="peak memory of the run in MiB")
    arguments = parser.parse_args()
    try:
        study = Study(read_files([arguments.config]))
        print_summary(arguments.results, Design.of(study), arguments.seconds, arguments.peak_mb)
    except (UserError, FileNotFoundError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
