"""Configurations as users hand them over: files laid over the default one, and values of --config."""

import pytest
import yaml
from snakemake.cli import parse_config

from fmri2img.errors import UserError
from fmri2img.settings.files import as_in_files, read_files


@pytest.mark.parametrize(
    "text",
    [
        "seeds=[0, 1]", "sessions=[1, all, 10min]", "statistics={confidence: 0.9, resamples: 200}", "subjects=[subj01]",
        "ridge={alphas: [1.0, 1.0e+3]}", "mindvis={finetuning: {training: {epochs: 4}}}", "compare_with=null",
        "mindeye2={low_level: null}", "nsd={bucket: {terms_accepted: true, copy: /data/nsd}}", "study=tiny",
        "submissions={mine: {path: /data/1}}", "methods=[]", "split=cluster0",
    ],
)  # fmt: skip
def test_a_value_of_the_command_line_has_the_type_that_it_has_in_a_file(text):
    key, _, value = text.partition("=")
    assert as_in_files(parse_config([text])) == {key: yaml.safe_load(value)}


def test_digits_stay_text_in_quotes_of_their_own_and_so_does_a_number_sign():
    assert as_in_files(parse_config(["subjects=[\"'01'\"]"])) == {"subjects": ["01"]}
    given = as_in_files(parse_config(["nsd={bucket: {copy: '/data/nsd #2'}}"]))
    assert given == {"nsd": {"bucket": {"copy": "/data/nsd #2"}}}


def test_files_are_laid_over_the_default_key_by_key(tmp_path):
    (tmp_path / "mine.yaml").write_text("study: mine\nstatistics: {confidence: 0.9}\n")
    found, default = read_files([tmp_path / "mine.yaml"]), read_files([])
    assert found["study"] == "mine" and found["methods"] == default["methods"]
    assert found["statistics"] == default["statistics"] | {"confidence": 0.9}


@pytest.mark.parametrize("content", [None, "a: [", "[1, 2]", "\tstudy: x", b"\xff\xfe\x00"])
def test_a_file_that_is_missing_or_no_configuration_is_named_in_one_line(content, tmp_path):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        read_files([path])
    assert str(path) in str(error.value) and "\n" not in str(error.value)
