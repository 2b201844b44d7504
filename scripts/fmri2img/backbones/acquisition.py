"""Fetching the files of a registered network from a hub or a URL."""

import os
from contextlib import contextmanager
from pathlib import Path

from fmri2img.artifacts.tables import write_json
from fmri2img.backbones.registry import ACQUIRED, Backbone, check_file
from fmri2img.errors import UserError
from fmri2img.integrity import sha256


def acquire(backbone: Backbone, target: Path) -> None:
    """Fetch all files of a hub or URL entry into the directory `target`, which gets its name once they are checked.

    acquired.json is written next to them: the hub's commit, and size and sha256 of each file, which identify the files
    if nothing is pinned. An interrupted fetch stays in `.<name>.partial` next to `target`, and the next one resumes it
    if the hub allows that. Raises UserError when the source cannot be reached or a file is not the registered one.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    commit, files = _commit(backbone, target), {}
    for name, check in backbone.record["files"].items():
        print(f"{backbone.name}: fetching {name}", flush=True)
        _fetch(backbone, name, commit, partial, target)
        try:
            check_file(partial / name, check or {}, f"backbone {backbone.name}", "fetch it again")
        except UserError:
            (partial / name).unlink(missing_ok=True)
            raise
        files[name] = {"size": (partial / name).stat().st_size, "sha256": sha256(partial / name)}
    write_json(partial / ACQUIRED, {"source": backbone.record["source"], "commit": commit, "files": files})
    if target.is_dir():
        target.rmdir()  # Snakemake may have made it, empty
    os.replace(partial, target)


def _commit(backbone: Backbone, target: Path) -> str | None:
    """Commit of the hub that all files are taken from: the pinned one, else the newest; None for a URL."""
    source = backbone.record["source"]
    if "page" in source:
        raise UserError(
            f"backbone {backbone.name}: cannot be fetched by a program; put {', '.join(backbone.record['files'])} of "
            f"{source['page']} into {target}"
        )
    if "url" in source or source["revision"]:
        return source.get("revision")
    from huggingface_hub import HfApi

    with _reaching(backbone, "the newest commit", target):
        return HfApi().repo_info(source["hub"], repo_type=source.get("repo_type", "model")).sha


def _fetch(backbone: Backbone, name: str, commit: str | None, folder: Path, target: Path) -> None:
    source = backbone.record["source"]
    with _reaching(backbone, name, target):
        if "url" in source:
            from torch.hub import download_url_to_file

            if not (folder / name).exists():
                download_url_to_file(source["url"], str(folder / name), progress=False)
        else:
            from huggingface_hub import hf_hub_download

            hf_hub_download(
                source["hub"], name, repo_type=source.get("repo_type", "model"), revision=commit, local_dir=folder
            )


@contextmanager
def _reaching(backbone: Backbone, what: str, target: Path):
    source = backbone.record["source"]
    try:
        yield
    except Exception as error:  # of the hub's library, of its HTTP library, or of the system
        where = source.get("url") or f"the hub repository {source['hub']}"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"backbone {backbone.name}: cannot fetch {what} from {where} ({reason}); run `snakemake fetch` "
            f"where there is internet (and HF_HUB_OFFLINE is not set), or put its files into {target} by hand"
        ) from error
