"""Jobs as scripts get them, without Snakemake."""

from types import SimpleNamespace
from typing import Any

from fmri2img.job import Items


def job_of(
    inputs: dict[str, Any], output: str, params: dict[str, Any], wildcards: dict[str, str], log: str = ""
) -> SimpleNamespace:
    """A job with one output; inputs, params and wildcards by name."""
    return SimpleNamespace(
        input=Items(list(inputs.values()), inputs),
        output=Items([output], {}),
        params=Items(list(params.values()), params),
        wildcards=Items(list(wildcards.values()), wildcards),
        log=Items([log], {}),
        resources=Items([], {}),
        threads=1,
        rule="some_rule",
        config={},
    )
