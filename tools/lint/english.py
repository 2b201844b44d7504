"""Refuse words that a reader of plain English would stumble on: python tools/lint/english.py [FILE ...]

Prose is what is checked: Markdown, reStructuredText and HTML without inline code, the values and comments of YAML, and
the comments, docstrings and messages of Python and Snakemake files. Identifiers are not prose: strings without a space
are skipped. Without arguments the files of CHECKED are read; with arguments only those of them that CHECKED covers.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Regular expression -> what to write instead. Each matches whole words, in any case.
WORDS = {
    r"anew": "again",
    r"asked( for)?": "requested",
    r"beside": "next to",
    r"beware": "caution",
    r"ever after": "from then on",
    r"goes on where it was": "resumes",
    r"halls?": "repository, package",
    r"(?<!let us )hears?": "is conditioned on, receives",
    r"(?<!\.)houses?": "repository, layout",
    r"in the place of": "in place of",
    r"(?<!there )is no(?! longer| more)": "is not a",
    r"is none of": "is not one of",
    r"listen(s|ed|ing)?": "is conditioned on, receives",
    r"(in )?(the )?midst": "in the middle",
    r"nobody": "no one, or name what is missing",
    r"rooms?": "package, disk space",
    r"so[- ]many(eth)?|so-manieth": "every n-th, this number of",
    r"tells? (\w+ )?apart|told apart": "distinguish",
    r"told": "reported, given",
    r"wherefrom|whereof|wherein|thereof": "where, of which",
}
CHECKED = (
    "*.md",
    "*.cff",
    "Makefile",
    "Snakefile",
    "config/**/*.yaml",
    "docs/**/*.md",
    "envs/**/*.yaml",
    "envs/requirements.in",
    "scripts/**/*.py",
    "scripts/**/*.smk",
    "scripts/**/*.yaml",
    "scripts/fmri2img/reporting/page/*.html",
    "scripts/fmri2img/reporting/page/*.js",
    "slurm/**/*.yaml",
    "tools/**/*.md",
    "tools/**/*.py",
    "tools/**/*.yaml",
    "workflow/**/*.smk",
    "workflow/Snakefile",
    "workflow/report/*.rst",
)
# File -> regular expression of words that are right there.
EXCEPT = {
    "scripts/fmri2img/datasets/scene_features.py": "room",  # the scene "living room"
    "scripts/fmri2img/datasets/scene_backgrounds.py": "room",
    "scripts/fmri2img/datasets/scenes.py": "room",
    "tools/lint/english.py": r".*",
}

PATTERN = re.compile("|".join(rf"(?P<w{n}>\b(?:{word})\b)" for n, word in enumerate(WORDS)), re.IGNORECASE)
PYTHON = {".py", ".smk"}
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each piece of prose in a file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix in PYTHON or path.name == "Snakefile":
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT or (token.type in STRINGS and " " in token.string):
                for offset, line in enumerate(token.string.splitlines()):
                    yield token.start[0] + offset, line
        return
    for number, line in enumerate(source.splitlines(), 1):
        if path.suffix in {".yaml", ".yml", ".cff"}:
            line = re.sub(r"^[\s-]*[\w.]+:", "", line)
        yield number, re.sub(r"`[^`]*`|\{[{%].*?[%}]\}|<[^<>]*>", " ", line)


def findings(path: Path) -> list[str]:
    """One line for each word of WORDS in a file: where it is and what to write instead."""
    name = path.relative_to(REPOSITORY).as_posix()
    allowed = re.compile(EXCEPT.get(name, r"(?!)"), re.IGNORECASE)
    found = []
    for number, text in prose(path):
        for match in PATTERN.finditer(text):
            if not allowed.fullmatch(match[0]):
                instead = list(WORDS.values())[int(match.lastgroup[1:])]
                found.append(f"{name}:{number}: '{match[0]}': write: {instead}")
    return found


def checked() -> list[Path]:
    return sorted({path for pattern in CHECKED for path in REPOSITORY.glob(pattern) if path.is_file()})


def main(arguments: list[str]) -> int:
    named = {Path(argument).resolve() for argument in arguments}
    found = [line for path in checked() if not named or path in named for line in findings(path)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
