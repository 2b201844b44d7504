"""Published MindEye2 networks through the workflow: what a study of them runs, and the import of a tiny one."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from recordings import small_recording

import decode
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.methods.mindeye2.network import MindEye2, load_model
from fmri2img.methods.mindeye2.released import PRIOR, published_name
from fmri2img.methods.mindeye2.settings import LowLevelConfig, ModelConfig
from fmri2img.networks.prior import cosine_betas
from fmri2img.networks.published import SCHEDULE, SCHEDULE_TABLES, TRANSFORMER
from fmri2img.networks.settings import PriorConfig

REPOSITORY = Path(__file__).resolve().parents[2]

STUDY = ("--configfile", "config/paper.yaml", "config/released.yaml")
ENTRY, FILE = "mindeye2_subj01_1sess", "train_logs/final_subj01_pretrained_1sess_24bs/last.pth"
TARGET = "results/released/decoders/mindeye2_released/subj01/1sessions/released"


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess:
    for name in ("config", "resources", "scripts"):
        if not (directory / name).exists():
            (directory / name).symlink_to(REPOSITORY / name)
    command = [sys.executable, "-m", "snakemake", "--directory", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


def test_a_study_of_published_networks_trains_none(tmp_path):
    result = run(tmp_path, "-n", "--quiet", "rules", *STUDY)
    assert result.returncode == 0, result.stdout + result.stderr
    counts = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.M)}
    # 4 subjects, 2 budgets, 3 seeds: one import serves all seeds. Ridge is decoded too.
    wanted = {"import_mindeye2": 8, "decode": 2 * 24, "caption": 24, "draw_light": 24}
    assert {rule: counts.get(rule) for rule in wanted} == wanted
    assert not {"pretrain", "finetune", "embed_local_features"} & set(counts)


def test_a_budget_without_a_published_network_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "changes.yaml").write_text("sessions: [1, 2]")
    result = run(tmp_path, "-n", *STUDY, str(tmp_path / "changes.yaml"))
    said = result.stdout + result.stderr
    assert result.returncode != 0 and "Traceback" not in said
    assert "no published network of subj01 at 2 sessions" in said


def published_weights(model: MindEye2) -> dict[str, torch.Tensor]:
    """A model's weights under their published names, with the tables that a published checkpoint holds beside them."""
    state = {published_name(name, ["subj01"]): value for name, value in model.state_dict().items()}
    prior = model.config.prior
    betas = cosine_betas(prior.timesteps)
    state |= {PRIOR + SCHEDULE + table: torch.zeros(prior.timesteps) for table in SCHEDULE_TABLES}
    state |= {PRIOR + SCHEDULE + "betas": betas, PRIOR + SCHEDULE + "alphas_cumprod": torch.cumprod(1 - betas, dim=0)}
    frequencies = model.prior.rotary_frequencies
    return state | {f"{PRIOR}{TRANSFORMER}layers.{n}.0.rotary_emb.freqs": frequencies for n in range(prior.depth)}


def test_the_rule_imports_a_published_checkpoint_and_names_a_wrong_key(tmp_path):
    prior = PriorConfig(depth=2, heads=2, head_width=16, feedforward=2, rotary_width=8)
    low_level = LowLevelConfig(seed_channels=32, maps_width=8)
    config = ModelConfig(hidden=8, backbone="as_released", tokens=4, token_width=6, low_level=low_level, prior=prior)
    model = MindEye2(config, {"subj01": 7}).eval()
    state = published_weights(model)
    wrong = {("backbone.blin.bias" if key == "backbone.blin1.bias" else key): value for key, value in state.items()}
    checkpoint = tmp_path / "models" / ENTRY / FILE
    checkpoint.parent.mkdir(parents=True)
    small_recording(tmp_path / "results/released/recordings/subj01", "subj01", 7)
    # The rule's command is run by itself, since a study of NSD first asks for its terms and for room on the disk.
    said = run(tmp_path, "-n", "-p", *STUDY, "--allowed-rules", "import_mindeye2", "--", TARGET).stdout
    command = re.search(r"^Shell command: (.+)$", said, re.M)[1]
    log = tmp_path / re.search(r"> (\S+) 2>&1$", command)[1]
    log.parent.mkdir(parents=True)
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

    def rule() -> int:
        return subprocess.run(command, shell=True, cwd=tmp_path, env=os.environ | {"PATH": path}).returncode

    torch.save({"epoch": 149, "model_state_dict": wrong}, checkpoint)
    assert rule() == 1
    assert "missing backbone.blin1.bias; unexpected backbone.blin.bias" in log.read_text()
    assert log.read_text().count("\n") == 1 and not (tmp_path / TARGET).exists()

    torch.save({"epoch": 149, "model_state_dict": state}, checkpoint)
    assert rule() == 0, log.read_text()
    loaded, metadata = load_model(tmp_path / TARGET)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    assert metadata["training_subjects"] == [f"subj0{n}" for n in range(1, 9)]
    assert (metadata["trials"], metadata["images"]) == (2, 2)
    assert loaded.voxels == {"subj01": 7}
    assert_it_decodes(tmp_path)


def assert_it_decodes(directory: Path) -> None:
    """The script of the rule decode takes the imported network as it takes a trained one."""
    tokens, encoder = np.zeros((1, 4, 6), np.float16), {"encoder": "e", "revision": "r", "trained_on": "t"}
    save_embeddings(directory / "embeddings", np.arange(1), tokens, encoder)
    job = SimpleNamespace(
        input=SimpleNamespace(
            decoder=directory / TARGET,
            recording=directory / "results/released/recordings/subj01",
            targets=[directory / "embeddings"],
        ),
        output=[str(directory / "decoded")],
        wildcards=SimpleNamespace(subject="subj01", sessions="1", seed="0", test_set="test"),
        params=SimpleNamespace(
            method="m",
            targets=["embeddings/e"],
            settings={"prior_steps": 5, "batch": 2},
            origin="faithful",
            decode="fmri2img.methods.mindeye2.decode:decode",
        ),
    )
    decode.main(job)
    decoded = Decoded.open(directory / "decoded")
    assert decoded.ids.tolist() == [90, 91, 92] and decoded.array("latents").shape == (3, 4, 28, 28)
    assert decoded.metadata["disclosure"]["training_trials"] == 2
    assert len(decoded.metadata["disclosure"]["training_subjects"]) == 8
