# Paths, wildcards and parameters that rules share.


import re
from os.path import relpath
from pathlib import Path

from fmri2img import user_files
from fmri2img.artifacts.cells import ALL, Cell, PATTERN as CELL
from fmri2img.backbones.registry import Backbone
from fmri2img.backbones.targets import TARGETS
from fmri2img.devices import gpus_of
from fmri2img.gaps import missing_scores
from fmri2img.paths import REPOSITORY

LOGS = f"logs/{study.name}"
GAPS = f"{LOGS}/gaps.json"  # what the last run lacks, where jobs of it failed
LISTED = f"{LOGS}/jobs.json"  # the logs of the jobs that the report is made from
TRAINED = "{subject}/{sessions}sessions/seed{seed}"  # below a decoder's folder


def one_of(names):
    """A wildcard constraint: one of these names, or nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


RUN_HERE = [name for name in study.registries["backbones"] if name not in study.dataset.embeddings]


wildcard_constraints:
    subject=one_of([*study.available_sessions, ALL]),
    sessions=rf"\d+(\.\d+)?|{ALL}",
    seed=rf"\d+|{ALL}",
    test_set=r"[^/]+",
    dimensions=r"\d+",
    shard=r"\d+",
    method=one_of(study.registries["methods"]),
    decoder=one_of(study.decoders),
    encoder=one_of(RUN_HERE),
    entry=one_of(RUN_HERE),


def _numbered(path):
    """A shard of an artifact, with its number as a wildcard."""
    return f"{path.replace('<results>', '<results>/shards')}/{{shard}}"


def shared(step, path):
    """The folder that a job of a step writes: an artifact, or a shard of it if several jobs share it (key `shards`)."""
    if config["shards"][step] == 1:
        return directory(path)
    return temp(directory(_numbered(path)))


def of_shard(step, path):
    """A log or benchmark of such a job, without its suffix."""
    return path if config["shards"][step] == 1 else f"{path}/{{shard}}"


def shards_of(step, path):
    """All shards of an artifact."""
    shards = range(config["shards"][step])
    return collect(_numbered(path), shard=shards, allow_missing=True)


def shard_of(step):
    """The parameter of such a job: the number of its shard, and how many there are."""
    return lambda w: [int(w.shard), config["shards"][step]] if "shard" in w.keys() else [0, 1]


CELL_MINUTES = {
    decoder: sum(map(resources_of.minutes, study.cell_classes(decoder))) for decoder in [*study.decoders, None]
}


def minutes_of_cell(wildcards):
    """What all jobs of a cell need, which share a submission: those of the decoder that a job's wildcards lead to."""
    return CELL_MINUTES[wildcards.get("decoder") or study.decoder_of(wildcards.method)]


in_cell = {"within": "cell", "minutes": minutes_of_cell}
# Shards are drawn in submissions of their own, and what is made from pictures then is in another one than the decoding.
DRAWN_ALONE = config["shards"]["draw"] > 1
DRAWING_GROUP, in_drawing = (None, {}) if DRAWN_ALONE else ("cell", in_cell)
PICTURES_GROUP, with_pictures = ("pictures", {"within": "small"}) if DRAWN_ALONE else ("cell", in_cell)


def trainings(jobs):
    """Decoder and stage of those jobs that train."""
    stages = {"pretrain": "pretraining", "finetune": "finetuning", "finetune_bottleneck": "finetuning"}
    return {(job.wildcards.decoder, stages[job.rule.name]) for job in jobs if job.rule.name in stages}


def submitted_with(group):
    """The group of downloads: none where they run on the login node."""
    return None if resources_of.downloads_are_local else group


def in_repository(path):
    """A file of the repository, relative to the working directory as Snakemake records it."""
    return relpath(REPOSITORY / path)


def in_results(path):
    """A path with <results> expanded, where Snakemake does not expand it."""
    return path.replace("<results>", f"results/{study.name}")


def gpus_requested(wildcards, resources):
    """GPUs of a node that a job requests; no job is rerun when they change, as Snakemake derives them from resources."""
    return gpus_of(resources)


def network(name):
    """(name, entry) of a registered network, as scripts take it."""
    return name, study.records["backbones"][name]


def drawing_network(name):
    """The same, with how pictures are stored that it draws larger."""
    name, entry = network(name)
    return name, entry | {"antialias": config["evaluation"]["antialias"]}


def model_path(name):
    """Input files of a registered network: its own files, or the folder that acquire_backbone fetches."""
    return Backbone(*network(name)).inputs()


def there(paths):
    """Those of these files that can be made: all of them, unless the run reports what is left after a failure."""
    return [path for path in paths if in_results(path) not in gaps.missing]


def prediction_path(method, cell):
    return f"<results>/predictions/{method}/{study.made_at(method, cell).path}"


def if_there(path):
    """The file if it can be made, else no file, for inputs of one file."""
    return path if there([path]) else []


def needed_by(method, cell):
    """Files without which a method cannot be scored at a cell: its prediction, and what the subject's are compared with."""
    of_subject = ["test_images/{}.json", *(["recordings/{}", "encoding/{}"] if study.on_brain else [])]
    return [prediction_path(method, cell), *(f"<results>/{path.format(cell.subject)}" for path in of_subject)]


def scored_cells(method):
    """The cells at which a method can be scored: all of them, unless something failed."""
    cells = study.cells(method)
    if not gaps.missing:
        return cells
    needed = {cell: needed_by(method, cell) for cell in cells}
    return [cell for cell, files in needed.items() if there(files) == files]


def predictions_of(method):
    """Predictions of a method for all of its cells, each once."""
    return list(dict.fromkeys(prediction_path(method, cell) for cell in scored_cells(method)))


def scores_compared():
    """Scores of the finished study that this one is compared with, of the methods that both have."""
    other = config["compare_with"]
    return [f"results/{other}/scores/{method}.parquet" for method in study.methods_compared()] if other else []


def config_compared():
    """The configuration that study ran with; no file without one."""
    return f"results/{config['compare_with']}/config.yaml" if config["compare_with"] else []


def all_predictions():
    return [path for method in study.methods for path in predictions_of(method)]


def loaders_of(target, name):
    """The module that loads a network which gives a target, as code_of takes it; none of a network of another kind."""
    source = TARGETS[target].get(study.registries["backbones"][name]["kind"])
    return [source.loader] if source and source.loader else []


def flat(found):
    """All paths of a table of paths and lists of paths."""
    return [path for value in found.values() for path in (value if isinstance(value, list) else [value])]


def drawn_from(method, wildcards, folder="<results>"):
    """Inputs of a method's drawing pipeline: files by the names that it uses, and those of its networks.

    folder: where the Decoded are.
    """
    entry, drawing = study.registries["methods"][method], study.drawing(method)
    decoder = entry.get("decoder")
    files = {
        "decoded": f"{folder}/decoded/{decoder}/{CELL}",
        "captions": f"<results>/captions/{decoder}/{CELL}.parquet",
        "stimuli": "<results>/stimuli",
        "split": f"<results>/splits/{config['split']}.json",
    }
    found = {name: files[name] for name in drawing["inputs"]}
    found |= {role: f"<results>/predictions/{entry['takes'][role]}/{CELL}" for role in drawing["takes"]}
    found = {name: path.format(**vars(wildcards)) for name, path in found.items()}
    return found | {"model": [path for name in drawing["networks"].values() for path in model_path(name)]}


def network_path(decoder, wildcards):
    """The fitted decoder: one fitted with this seed, or a published network for all seeds."""
    fitted = "released" if "released" in study.decoders[decoder] else f"seed{wildcards.seed}"
    return f"<results>/decoders/{decoder}/{wildcards.subject}/{wildcards.sessions}sessions/{fitted}"


def deepspeed_of(decoder, stage):
    """The DeepSpeed configuration of a stage of training; none where it has none."""
    path = study.section(decoder)[stage]["training"]["deepspeed"]
    return [in_repository(path)] if path else []


def pretrained_path(decoder, subject):
    """The weights from which fine-tuning starts; none for a network trained from scratch."""
    pretraining = study.pretraining(decoder, subject)
    return [f"<results>/pretrained/{pretraining.path}"] if pretraining else []


def decoder_paths(method):
    """Trained networks of a method: all subjects, budgets and seeds."""
    decoder = study.registries["methods"][method]["decoder"]
    trained = dict.fromkeys(cell._replace(test_set="").path.removesuffix("/") for cell in study.cells(method))
    return [f"<results>/decoders/{decoder}/{path}" for path in trained]


def all_pretrained():
    """Networks from which the study's trained methods start."""
    decoders = [study.registries["methods"][method]["decoder"] for method in study.trained]
    return [f"<results>/pretrained/{pretraining.path}" for pretraining in study.pretrainings_of(decoders)]


def of_subjects(path, method):
    """One path for each subject of a method's predictions."""
    return [path.format(subject=subject) for subject in dict.fromkeys(cell.subject for cell in scored_cells(method))]


def scores_of(method):
    return f"<results>/scores/{method}.parquet"


def scored_methods():
    """Methods that have predictions for at least one of the study's budgets, and whose scoring did not fail."""
    return [method for method in study.methods if scored_cells(method) and there([scores_of(method)])]


def all_scores():
    return [scores_of(method) for method in scored_methods()]


def lacking():
    """What the study's scores lack because jobs failed, as reports show it; nothing in an ordinary run."""

    def files(method, cell):
        return [in_results(path) for path in (*needed_by(method, cell), scores_of(method))]

    cells = {method: study.cells(method) for method in study.methods} if gaps.missing else {}
    return missing_scores(gaps, cells, files)


def published_files():
    """config/published, file by file."""
    return [relpath(path) for path in sorted((REPOSITORY / "config/published").iterdir())]


def until_downloads(wildcards):
    """All that the study makes; of the jobs before it, those that download are run and no other, as with --until."""
    workflow.dag.untilrules.update(download_rules)
    return rules.all.input


def analysis_path(name):
    """The folder with figure and table of an analysis, which a rule of its method's folder makes."""
    entry = study.analyses[name]
    return f"<results>/analyses/{entry['folder']}/{entry['name']}"


def analyses_made():
    """Name of each analysis of the study -> its folder, or why it could not be made."""
    found = {}
    for name in study.analyses:
        causes = gaps.causes([in_results(analysis_path(name))])
        found[name] = {"failed": str(causes[0])} if causes else {"folder": in_results(analysis_path(name))}
    return found


def brain_figures():
    """Maps of brain correlation if the study measures it; also on the MNI template if the dataset has transforms."""
    spaces = ["", "_mni"] if "mni" in study.dataset.anatomy else [""]
    subjects = study.subjects if study.has_brain_maps else []
    return collect("<results>/figures/brain_{subject}{space}.png", subject=subjects, space=spaces)


def as_found(dataset, paths):
    """The parameter of rules that read these files of a dataset where they are the user's own."""
    return dataset.found(paths)


def submitted(wildcards):
    """The submitted prediction that belongs to these wildcards."""
    return study.submitted(wildcards.method, Cell.of(wildcards))


def submitted_files(wildcards):
    """Its files, or the folder into which they are fetched."""
    paths = [Path(path) for path in submitted(wildcards).inputs()]
    fetched = {path for path in paths if path.parts[0] == "models" and len(path.parts) > 2}
    return [
        *(path.as_posix() for path in paths if path not in fetched),
        *sorted({Path(*path.parts[:2]).as_posix() for path in fetched}),
    ]


def made_from(method, wildcards):
    """Inputs of a method's function: files by the names that the function uses."""
    entry = study.registries["methods"][method]
    files = {
        "recording": "<results>/recordings/{subject}",
        "embeddings": f"<results>/embeddings/{study.value_at(entry['made_by']['embeddings'], entry['folder'])}",
        "stimuli": "<results>/stimuli",
        "captions": "<results>/stimuli",
        "captioned": "<results>/captioned_images.parquet",
    }
    found = {"split": f"<results>/splits/{config['split']}.json"}
    found |= {name: files[name].format(**vars(wildcards)) for name in entry["made_by"]["needs"]}
    if entry["made_by"]["of"]:
        folder = f"<results>/{entry['made_by']['of']}/{entry['source']}"
        found["source"] = f"{folder}/{CELL}".format(**vars(wildcards))
    return found


def function_params(wildcard):
    """Parameters of a rule whose method is named by this wildcard."""

    def of(key):
        return lambda w: study.registries["methods"][w[wildcard]]["made_by"][key]

    return {
        "method": lambda w: w[wildcard],
        "function": of("function"),
        "of": of("of"),
        "makes": of("makes"),
        "origin": lambda w: study.registries["methods"][w[wildcard]]["origin"],
        "settings": lambda w: config.get(study.registries["methods"][w[wildcard]]["folder"], {}),
        "captioner": config["captioner"],
        "code": lambda w: code_of("make", of("function")(w)),
    }
