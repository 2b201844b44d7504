"""The job graph of every shipped study, from both Snakefiles, with and without the SLURM profile.

Counts are asserted because a dry-run that finds nothing to do also succeeds.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import chdir
from pathlib import Path

import pytest

from fmri2img.job_graph import graph_of
from fmri2img.training.launch import TORCHRUN

REPOSITORY = Path(__file__).resolve().parents[2]

# rule -> jobs. Demo: 4 simulated subjects, 2 of them targets, budgets 1, 2, all; 1 seed; 1 test set; networks trained:
# MindEye2 and MinD-Vis, each pretrained once on the 2 other subjects, and MindEye1. Draws at three budgets of 2
# subjects: ridge, Brain-Diffuser, MindEye2's unrefined, low-level and refined pictures, Takagi's z with c; at one:
# MindEye1, MinD-Vis, Brain-Diffuser's first step, Ferrante's captions, three parts of Takagi; the true tokens once.
DEMO = {
    "simulate_stimuli": 1, "simulate_subj01": 1, "simulate_subj02": 1, "simulate_subj03": 1, "simulate_subj04": 1,
    "mask_session": 28, "prepare_recording": 4, "prepare_stimuli": 1, "make_splits": 1, "embed_stimuli": 1,
    "encode_latents": 2, "embed_local_features": 2, "train_caption_converter": 1, "pretrain": 2, "finetune": 10,
    "fit_linear": 20, "decode": 30, "make_decoded": 1, "draw": 39, "draw_quickly": 12, "draw_light": 6,
    "caption": 6, "caption_images": 1,
    "embed_test_images": 2, "list_test_images": 2, "evaluate": 22,
    # nearest neighbour 6, five shuffled brains 22, repeats once a subject 2, captions of the true images 1
    "make_prediction": 3, "make_from_prediction": 28,
    "make_tables": 1, "make_figures": 1, "make_cards": 1, "make_page": 1, "make_crate": 1,
    "fit_encoding": 2, "copy_anatomy": 2, "make_brain_maps": 1,
    "embed_texts": 1, "compute_components": 1, "fit_components": 1, "draw_encoding": 1, "draw_regions": 1,
    "report_analyses": 1,
}  # fmt: skip
# Paper: 8 subjects with 40, 40, 32, 30, 40, 32, 40, 30 sessions = 284; budgets 1, 2, all; 3 seeds; pretraining once.
# What does not vary with subject, budget or seed is made once: true tokens and pictures of captions for each seed,
# captions of the true images once, repeats for each subject, the mean and the nearest training image for each subject
# and budget.
PAPER = {
    "acquire_betas": 284, "mask_session": 284, "prepare_recording": 8, "prepare_stimuli": 1, "make_splits": 1,
    "embed_stimuli": 4, "encode_latents": 4, "embed_texts": 2, "embed_local_features": 10, "embed_views": 4,
    "pretrain": 24, "finetune": 432, "fit_linear": 240, "decode": 672, "decode_without_brain": 72, "make_decoded": 4,
    "draw": 966, "draw_quickly": 289,
    "caption": 144, "draw_light": 144, "caption_images": 1, "embed_test_images": 8,
    # nearest neighbour 72, shuffled brains 216, random 72, mean 24, oracle 24, repeats 8, captions 1
    "make_prediction": 129, "make_from_prediction": 456,
    "evaluate": 38, "make_tables": 1, "make_figures": 1, "make_cards": 1, "make_page": 1,
    "make_crate": 1, "import_encoding": 8, "make_brain_maps": 1,
    "compute_components": 4, "fit_components": 4, "draw_encoding": 1, "draw_regions": 1, "report_analyses": 1,
}  # fmt: skip
# Light: no low-level head, so no blurry pictures and no blend.
LIGHT = {"pretrain": 16, "finetune": 216, "decode": 288, "draw": 288, "draw_light": None, "evaluate": 6}
GROUP = re.compile(r"Group job (\w+) \(jobs in lexicogr. order\):")


def dry_run_output(*arguments: str, directory: Path) -> str:
    """What a dry-run in an empty working directory prints."""
    command = [sys.executable, "-m", "snakemake", "-n", "--directory", str(directory), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def dry_run(*arguments: str, directory: Path) -> dict[str, int]:
    """Job counts of such a dry-run."""
    printed = dry_run_output(*arguments, "--quiet", "rules", directory=directory)
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", printed, re.M)}


def jobs(directory: Path, *studies: str, changes: str = "", targets: tuple[str, ...] = ()) -> list:
    """Jobs of a study in an empty working directory, read in this process, which takes half of the time.

    studies: files of config/; changes: a study laid over them.
    """
    (directory / "changes.yaml").write_text(changes or "{}")
    files = [*(REPOSITORY / "config" / name for name in studies), directory / "changes.yaml"]
    with chdir(directory):
        return [job for job in graph_of(targets, configfiles=files).dag.jobs]


def counted(directory: Path, *studies: str, **options) -> dict[str, int]:
    """Rule -> the number of its jobs."""
    return dict(Counter(job.rule.name for job in jobs(directory, *studies, **options)))


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_demo_has_all_its_jobs_from_both_snakefiles(snakefile, tmp_path):
    counts = dry_run("--snakefile", snakefile, directory=tmp_path)
    assert {rule: counts.get(rule) for rule in DEMO} == DEMO


def submissions(printed: str) -> dict[str, list[tuple[Counter, int]]]:
    """Group, or "" for single jobs -> of each submission the rules with the number of their jobs, and its minutes."""
    found: dict[str, list[tuple[Counter, int]]] = {}
    _, *blocks = GROUP.split(printed)
    for name, block in zip(blocks[::2], blocks[1::2], strict=True):
        own, *_ = re.split(r"^(?=\[|rule|localrule)", block, maxsplit=1, flags=re.M)
        minutes = sum(map(int, re.findall(r"runtime=(\d+)", own)))
        found.setdefault(name, []).append((Counter(re.findall(r"^    rule (\w+):", own, re.M)), minutes))
    found[""] = [(Counter([rule]), 0) for rule in re.findall(r"^rule (\w+):", printed, re.M)]
    return found


def test_paper_has_all_its_jobs_in_few_submissions(tmp_path):
    """One for each cell after training, and none for small jobs alone; each within the time that a partition gives."""
    limits = {"cpu": 1440, "gpu": 2000}
    partitions = {name: {"max_runtime": minutes, "gpus": 4 * (name == "gpu")} for name, minutes in limits.items()}
    (tmp_path / "site.yaml").write_text(json.dumps({"partitions": partitions}))
    arguments = ("--configfile", "config/paper.yaml", "--profile", "slurm")
    printed = dry_run_output(*arguments, "--config", f"site={tmp_path / 'site.yaml'}", directory=tmp_path)
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", printed, re.M)}
    assert {rule: counts.get(rule) for rule in PAPER} == PAPER
    found = submissions(printed)
    assert sum(map(len, found.values())) < 1500
    assert len(found["cell"]) == PAPER["decode"] + PAPER["decode_without_brain"] + 7  # draws of what is made once
    assert Counter(decode=1, draw=2, caption=1, draw_quickly=1, draw_light=1, make_from_prediction=1) in [
        rules for rules, _ in found["cell"]
    ]
    alone = {rule for rules, _ in found[""] for rule in rules}
    assert not alone & {"decode", "draw", "caption", "make_prediction", "mask_session", "acquire_betas", "acquire"}
    assert len(found["sessions"]) == 29 and all(len(set(rules.values())) == 1 for rules, _ in found["sessions"])
    longest = {group: max(minutes for _, minutes in ones) for group, ones in found.items()}
    assert 1900 < longest.pop("cell") <= limits["gpu"] and max(longest.values()) <= limits["cpu"]


def test_steps_over_images_may_be_shared_by_jobs(tmp_path):
    """Two of each draw and three of each embedding; the shards are joined by a job each."""
    counts = counted(tmp_path, changes="shards: {draw: 2, embed: 3}")
    wanted = {"draw": 2 * DEMO["draw"], "join_predictions": DEMO["draw"], "draw_quickly": DEMO["draw_quickly"]}
    wanted |= {"embed_stimuli": 3, "encode_latents": 6, "embed_texts": 3, "embed_local_features": 6}
    wanted |= {"join_embeddings": 6, "evaluate": DEMO["evaluate"]}
    assert {rule: counts.get(rule) for rule in wanted} == wanted


def test_the_light_variant_is_laid_over_the_paper(tmp_path):
    counts = counted(tmp_path, "paper.yaml", "light.yaml")
    assert {rule: counts.get(rule) for rule in LIGHT} == LIGHT


def test_ablations_share_a_pretraining_and_a_method_may_have_fewer_budgets(tmp_path):
    counts = counted(tmp_path, "ablations.yaml", changes="budgets: {mindeye2_scratch_unrefined: [1]}")
    wanted = {"pretrain": 2, "finetune": 20, "fit_linear": 6, "decode": 26, "draw_light": 12, "evaluate": 6}
    assert {rule: counts.get(rule) for rule in wanted} == wanted


def test_paper_tables_are_a_target_of_their_own(tmp_path):
    counts = counted(tmp_path, targets=("paper_tables",))
    assert counts["paper_tables"] == 1 and counts["evaluate"] == DEMO["evaluate"] and "make_tables" not in counts


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("gpus_per_node: 1", "python"),
        ("gpus_per_node: 2", f"env OMP_NUM_THREADS=1 {TORCHRUN} --nproc-per-node 2 --standalone"),
        (
            "training: {deepspeed: config/deepspeed/zero2_offload.json}",
            f"env OMP_NUM_THREADS=1 {TORCHRUN} --nproc-per-node 1 --standalone",
        ),
    ],
)
def test_training_is_launched_by_what_it_needs(stage, command, tmp_path):
    target = "results/demo/decoders/mindeye2_scratch/subj01/1sessions/seed0"
    made = jobs(tmp_path, changes=f"mindeye2: {{finetuning: {{{stage}}}}}", targets=(target,))
    (shell,) = (job.shellcmd for job in made if job.rule.name == "finetune")
    assert re.findall(r"&& exec (\w.*) \S*scripts/train\.py ", shell) == [command]


SITE = """
partitions:
  cpu: {max_runtime: 1440, max_mem_mb: 64000}
  gpu: {max_runtime: 600, gpus: 4, gpu_type: h100}
downloads: login
"""


def resources_of(printed: str, rule: str) -> str:
    """Resources of the rule's first job in a dry-run."""
    return re.search(rf"rule {rule}:.*?resources: (.*?)$", printed, re.M | re.S)[1]


def test_a_site_is_laid_over_the_profile_and_one_value_of_one_rule_changes_alone(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    cell = "subj01/1sessions/seed0"
    targets = [f"results/demo/decoders/{name}/{cell}" for name in ("ridge", "mindeye2")]
    printed = dry_run_output(
        *("--profile", "slurm", "--config", f"site={tmp_path}/site.yaml", "resources=cluster"),
        *("--set-resources", "fit_linear:mem_mb=999", "--", *targets),
        directory=tmp_path,
    )
    assert "mem_mb=999," in resources_of(printed, "fit_linear")
    assert "slurm_partition=cpu" in resources_of(printed, "fit_linear")
    pretraining = resources_of(printed, "pretrain")
    for stated in ("mem_mb=128000", "runtime=600", "gpu=1", "gpu_model=h100", "slurm_partition=gpu"):
        assert stated in pretraining


def test_downloads_run_on_the_login_node_where_the_site_says_so(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/sh\ncase "$*" in *--test-only*) ;; *) touch submitted; exit 1;; esac\n')
    sbatch.chmod(0o755)
    command = [sys.executable, "-m", "snakemake", "--directory", str(tmp_path), "--profile", "slurm", "--retries", "0"]
    command += ["--config", f"site={tmp_path}/site.yaml", "--", "models/git_large_coco"]
    # No network is needed to see where the job runs: it fails here, in one line.
    environment = os.environ | {"PATH": f"{sbatch.parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode == 1 and "git_large_coco: cannot fetch" in result.stdout + result.stderr
    assert not (tmp_path / "submitted").exists() and not (REPOSITORY / "submitted").exists()


def test_fetch_downloads_networks_and_data_and_makes_nothing_else(tmp_path):
    (tmp_path / "one.yaml").write_text(
        "{subjects: [subj01], methods: [ridge], analyses: [], bottleneck: {methods: [ridge]}}"
    )
    files = ["--configfile", "config/paper.yaml", str(tmp_path / "one.yaml")]
    counts = dry_run(*files, "--cores", "1", "fetch", directory=tmp_path)
    assert counts["acquire_betas"] == 40 and counts["acquire_backbone"] > 3
    assert [rule for rule in counts if not rule.startswith("acquire")] == ["total"]


def test_test_sets_of_other_experiments_refit_nothing(tmp_path):
    (tmp_path / "alone.yaml").write_text("nsd: {transfer: []}")
    files = ["--configfile", "config/transfer.yaml"]
    alone = dry_run(*files, str(tmp_path / "alone.yaml"), directory=tmp_path)
    counts = dry_run(*files, directory=tmp_path)
    added = {"mask_experiment": 4, "simulate_transfer_stimuli": 1, "simulate_transfer_subj01": 1}
    added |= {"simulate_transfer_subj02": 1}
    assert {rule: counts.get(rule) for rule in added} == added and not added.keys() & alone.keys()
    again = ("decode", "draw", "make_decoded", "make_prediction", "make_from_prediction")
    assert {rule: counts[rule] for rule in again} == {rule: 5 * alone[rule] for rule in again}  # 5 test sets
    same = counts.keys() - added.keys() - {*again, "total"}
    assert {rule: counts[rule] for rule in same} == {rule: alone.get(rule) for rule in same}
    assert counts["fit_linear"] == 6


def test_betas_of_other_experiments_are_fetched_and_masked_like_those_of_sessions(tmp_path):
    (tmp_path / "one.yaml").write_text(
        "{subjects: [subj01], methods: [ridge], analyses: [], bottleneck: {methods: [ridge]}, "
        "nsd: {transfer: [imagery, synthetic]}}"
    )
    files = ["--configfile", "config/paper.yaml", str(tmp_path / "one.yaml")]
    counts = dry_run(*files, directory=tmp_path)
    assert (counts["acquire_betas"], counts["mask_session"], counts["mask_experiment"]) == (42, 40, 2)


@pytest.mark.parametrize(("method", "fitted"), [("ridge", "fit_linear"), ("mindeye2_unrefined", "finetune")])
def test_the_bottleneck_refits_a_decoder_for_each_number_of_dimensions(method, fitted, tmp_path):
    curve = f"bottleneck: {{methods: [{method}], dimensions: [2, 30]}}"
    counts = counted(tmp_path, changes=curve, targets=("bottleneck",))
    names = [f"{name}_bottleneck" for name in ("learn", fitted, "draw", "evaluate")]
    assert [counts.get(name) for name in (*names, "restrict_recording")] == [2, 4, 4, 2, 4]
    assert counts["bottleneck"] == 1 and counts["evaluate"] == 2  # with all voxels, and the shuffled brain


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sesions=[1]", "key 'sesions': unknown; did you mean 'sessions'?"),
        ("subjects=[subj09]", "key 'subjects': no data for subj09; available: subj01, "),
        ("split=cluster7", "cluster7 requested, but cluster_split.clusters is 5"),
    ],
)
def test_bad_configuration_ends_in_one_line(setting, message, tmp_path):
    command = [sys.executable, "-m", "snakemake", "-n", "--config", setting]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode != 0
    assert message in result.stdout + result.stderr and "Traceback" not in result.stdout + result.stderr


def test_real_data_need_accepted_terms_before_the_first_job(tmp_path):
    (tmp_path / "one.yaml").write_text("{subjects: [subj01], methods: [ridge], analyses: []}")
    command = [sys.executable, "-m", "snakemake", "--configfile", "config/paper.yaml", str(tmp_path / "one.yaml")]
    command += ["--cores", "1", "--directory", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode != 0 and "nsd.bucket.terms_accepted" in result.stdout + result.stderr
    assert not (tmp_path / "data").exists()
