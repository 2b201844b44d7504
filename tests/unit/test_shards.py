"""Shards: what several jobs compute and one joins is, byte for byte, what one job computes."""

import numpy as np
import pandas as pd
import pytest
from drawings import CELL
from test_backbones import IMAGES, clip  # noqa: F401  (a fixture)
from test_generation import folders
from test_mindeye2_stages import networks, stages  # noqa: F401  (fixtures)

from draw import write_drawn
from embed_stimuli import embed_stimuli
from fmri2img.artifacts.arrays import ArrayWriter, Parts, Rows, read_array, save_array
from fmri2img.artifacts.decoded import Decoded, save_decoded
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.shards import Shard, not_empty
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.errors import UserError
from fmri2img.generation import drawing as drawings
from fmri2img.generation.drawing import Drawing
from fmri2img.generation.pipelines import pipelines
from join_embeddings import join_embeddings
from join_predictions import join_predictions, joined_facts

UNCLIP = {"steps": 2, "guidance": 2.0, "batch": 2}


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("total", "batch", "count"), [(1000, 64, 8), (1000, 8, 3), (5, 2, 4), (1, 64, 3), (64, 64, 1)])
def test_shards_cover_all_rows_once_and_begin_with_a_batch(total, batch, count):
    parts = [Shard(number, count).rows(total, batch) for number in range(count)]
    assert [row for part in parts for row in range(total)[part]] == list(range(total))
    assert all(part.start % batch == 0 for part in parts if part.start < total)
    sizes = [-(-(part.stop - part.start) // batch) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def drawn_in_shards(tmp_path, monkeypatch, pipeline, networks, settings, count, **paths) -> None:  # noqa: F811
    monkeypatch.setattr(drawings, "BATCH", 2)
    function, shards = pipelines()[pipeline].function, []
    for name, shard in [("whole", Shard(0, 1)), *((f"part{n}", Shard(n, count)) for n in range(count))]:
        given = {role: str(path) for role, path in paths.items()}
        drawing = Drawing(CELL, given, networks, settings, outputs=("images", "retrieval"), shard=shard)
        write_drawn(drawing, function, "m", "port", str(tmp_path / name))
        shards += [str(tmp_path / name)] if name != "whole" else []
    assert len(not_empty(shards)) > 1
    join_predictions(shards, str(tmp_path / "joined"))
    assert content(tmp_path / "joined") == content(tmp_path / "whole")


@pytest.mark.parametrize("count", [2, 4])
def test_pictures_drawn_in_shards_are_those_of_one_job(count, tmp_path, monkeypatch):
    """Five images in batches of two: of four shards, one is empty."""
    generator, autoencoder = folders(tmp_path)
    ids, tokens = np.array([3, 8, 21, 500, 72000]), np.random.default_rng(0).normal(size=(5, 3, 12))
    identity = CELL._asdict() | {"method": "m", "split": "s", "split_sha256": "0"}
    metadata = identity | {"disclosure": Disclosure(encoder="e").record()}
    save_decoded(tmp_path / "decoded", ids, metadata, {"tokens": tokens})
    both = {"generator": generator, "autoencoder": autoencoder}
    drawn_in_shards(tmp_path, monkeypatch, "unclip", both, UNCLIP, count, decoded=tmp_path / "decoded")


def test_samples_of_an_image_drawn_in_shards_are_those_of_one_job(tmp_path, monkeypatch):
    generator, autoencoder = folders(tmp_path)
    latents = np.random.default_rng(0).normal(size=(5, 3, 4, 4, 4))
    identity = CELL._asdict() | {"method": "m", "split": "s", "split_sha256": "0"}
    metadata = identity | {"disclosure": Disclosure(encoder="e", samples_per_image=3).record()}
    arrays = {"latents": latents[:, 0], "samples": latents[:, 1:], "retrieval": np.ones((5, 2))}
    save_decoded(tmp_path / "decoded", np.arange(5), metadata, arrays)
    both = {"generator": generator, "autoencoder": autoencoder}
    drawn_in_shards(tmp_path, monkeypatch, "finetuned", both, {}, 2, decoded=tmp_path / "decoded")
    assert "samples.npy" in content(tmp_path / "joined")


def test_pictures_refined_in_shards_are_those_of_one_job(stages, networks, tmp_path, monkeypatch):  # noqa: F811
    settings = {"steps": 3, "start": 1, "guidance": 2.0, "batch": 2, "negative_prompt": "blurry"}
    paths = {"unrefined": stages["unrefined"], "captions": stages["captions"]}
    drawn_in_shards(tmp_path, monkeypatch, "refine", networks, settings, 2, **paths)


def test_counts_of_images_are_summed_and_other_facts_must_agree():
    assert joined_facts([[1, 2], [1, 2]]) == [2, 4] and joined_facts(["a", "a"]) == "a"
    with pytest.raises(ValueError, match="the shards' metadata differ"):
        joined_facts(["a", "b"])


def test_stimuli_embedded_in_shards_are_those_of_one_job(clip, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("embed_stimuli.BLOCK", 2)
    table = pd.DataFrame({"image_id": [4, 9, 11, 700, 72999], "name": "x", "source": "x", "cluster": None})
    save_stimuli(tmp_path / "stimuli", IMAGES, table.assign(captions=[["a"]] * 5, categories=[["b"]] * 5), {})
    for name, shard in [("whole", Shard(0, 1)), *((f"part{n}", Shard(n, 4)) for n in range(4))]:
        embed_stimuli(clip, str(tmp_path / "stimuli"), str(tmp_path / name), shard)
    join_embeddings([str(tmp_path / f"part{n}") for n in range(4)], str(tmp_path / "joined"))
    assert len(not_empty([str(tmp_path / f"part{n}") for n in range(4)])) == 3
    assert content(tmp_path / "joined") == content(tmp_path / "whole")


# ---- copies that are not held in memory


def test_rows_are_written_as_numpy_writes_them(tmp_path, monkeypatch):
    monkeypatch.setattr("fmri2img.artifacts.arrays.BLOCK_BYTES", 50)  # two rows at a time
    values = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    opened, rows = read_array(tmp_path / "values.npy"), np.array([6, 0, 0, 3, 5])
    for array in (values, opened, opened[:]):  # in memory, a file, and a view of the file
        for flat, expected in ((False, values[rows]), (True, values[rows].reshape(5, 6))):
            save_array(tmp_path / "made.npy", Rows(array, rows, flat), np.float16, np.array([1, 0, 2, 3, 4]))
            np.save(tmp_path / "plain.npy", expected[[1, 0, 2, 3, 4]].astype(np.float16))
            assert (tmp_path / "made.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()
    save_array(tmp_path / "made.npy", Parts([opened[:3], opened[3:]]), np.float32)
    assert (tmp_path / "made.npy").read_bytes() == (tmp_path / "values.npy").read_bytes()
    np.testing.assert_array_equal(np.asarray(Rows(opened, rows)), values[rows])


def test_a_part_of_a_file_is_not_read_at_the_place_of_the_whole(tmp_path):
    np.save(tmp_path / "values.npy", np.arange(12.0).reshape(6, 2))
    part = read_array(tmp_path / "values.npy")[2:]
    assert Rows(part, np.array([0]))[:].tolist() == [[4, 5]]


def test_blocks_are_written_to_a_file_without_a_map_of_it(tmp_path):
    values = np.arange(30, dtype=np.float16).reshape(5, 3, 2)
    writer = ArrayWriter(tmp_path / "made.npy", np.float16, values.shape)
    writer.write(values[:2])
    with pytest.raises(ValueError, match=r"rows of shape \(6,\) in a file of \(3, 2\)"):
        writer.write(values[2:].reshape(3, 6))
    writer.write(values[2:])
    writer.close()
    np.save(tmp_path / "plain.npy", values)
    assert (tmp_path / "made.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_one_value_that_is_not_finite_is_reported(tmp_path):
    with pytest.raises(UserError, match="tokens hold NaN or infinities in float16"):
        save_array(tmp_path / "a.npy", np.array([[1.0], [70000.0]]), np.float16, finite="tokens")


def test_a_shard_of_a_decoder_holds_its_rows(tmp_path):
    metadata = CELL._asdict() | {"method": "m", "split": "s", "split_sha256": "0", "disclosure": Disclosure().record()}
    save_decoded(tmp_path / "d", np.array([1, 5, 9]), metadata, {"tokens": np.arange(6.0).reshape(3, 2, 1)})
    part = Decoded.open(tmp_path / "d").of_rows(slice(1, 3))
    assert part.ids.tolist() == [5, 9] and part.retrieval.tolist() == [[2, 3], [4, 5]]
    save_prediction(tmp_path / "p", part.ids, metadata, retrieval=part.retrieval)
