"""Fetching the files of a registered network from a hub or a URL."""

import os
import urllib.error
from pathlib import Path

from fmri2img.backbones.registry import Backbone, check_file
from fmri2img.errors import UserError


def acquire(backbone: Backbone, target: Path) -> None:
    """Fetch all files of a hub or URL entry into the directory `target`, check them, and only then give it that name.

    An interrupted fetch is left in `.<name>.partial` beside `target`, and the next one goes on from there where the
    hub allows it. Raises UserError when the source cannot be reached or a file is not the registered one.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for name, check in backbone.record["files"].items():
        print(f"{backbone.name}: fetching {name}", flush=True)
        _fetch(backbone, name, partial, target)
        try:
            check_file(partial / name, check or {}, f"backbone {backbone.name}", "fetch it again")
        except UserError:
            (partial / name).unlink(missing_ok=True)
            raise
    if target.is_dir():
        target.rmdir()  # Snakemake may have made it, empty
    os.replace(partial, target)


def _fetch(backbone: Backbone, name: str, folder: Path, target: Path) -> None:
    source = backbone.record["source"]
    try:
        if "url" in source:
            from torch.hub import download_url_to_file

            if not (folder / name).exists():
                download_url_to_file(source["url"], str(folder / name), progress=False)
        else:
            from huggingface_hub import hf_hub_download

            hf_hub_download(
                source["hub"],
                name,
                repo_type=source.get("repo_type", "model"),
                revision=source["revision"],
                local_dir=folder,
            )
    except (OSError, urllib.error.URLError, ValueError, RuntimeError) as error:
        where = source.get("url") or f"the hub repository {source['hub']}"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"backbone {backbone.name}: cannot fetch {name} from {where} ({reason}); allow network access (unset "
            f"HF_HUB_OFFLINE), or put its files into {target} by hand"
        ) from error
