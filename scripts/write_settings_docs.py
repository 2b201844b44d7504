"""Write config/schema.json and the key tables of config/README.md and docs/cluster.md from the declared settings.

python scripts/write_settings_docs.py            write them
python scripts/write_settings_docs.py --check    only say whether they are up to date
"""

import argparse
import sys

from fmri2img.paths import REPOSITORY
from fmri2img.settings.documentation import documents


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is out of date")
    arguments = parser.parse_args()
    outdated = [path for path, text in documents().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in outdated:
        print(f"{path.relative_to(REPOSITORY)}: {'out of date' if arguments.check else 'written'}")
        if not arguments.check:
            path.write_text(documents()[path], encoding="utf-8")
    return int(arguments.check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
