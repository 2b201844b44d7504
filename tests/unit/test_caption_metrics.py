"""Caption metrics: known answers, parity with the packages themselves, and no network or home directory needed."""

import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer
from transformers import BertConfig, BertModel, BertTokenizerFast

from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.backbones.texts import load_text_encoder, wordnet_folder
from fmri2img.errors import UserError
from fmri2img.metrics import captions
from fmri2img.paths import REPOSITORY

REFERENCES = [
    ["A red car stands on a beach.", "a red automobile by the sea", "cars"],
    ["Two dogs are running across the snow."],
    ["a bowl of soup"],
]
CAPTIONS = ["a red car and a dog on the beach", "two dogs running in snow", ""]


def test_rouge_is_that_of_the_best_reference():
    scorer = RougeScorer(["rouge1", "rougeL"])
    for variant in ("rouge1", "rougeL"):
        expected = [
            max(scorer.score(reference, caption)[variant].fmeasure for reference in several)
            for several, caption in zip(REFERENCES, CAPTIONS, strict=True)
        ]
        np.testing.assert_allclose(captions.rouge(REFERENCES, CAPTIONS, variant), expected)
    # 6 of 9 words of the caption are among the 7 of the reference
    assert captions.rouge([REFERENCES[0][:1]], CAPTIONS[:1], "rouge1")[0] == pytest.approx(2 * 6 / (9 + 7))


def test_perfect_and_wordless_captions():
    perfect = [several[0] for several in REFERENCES]
    for function, options in (
        (captions.rouge, {"variant": "rouge1"}),
        (captions.rouge, {"variant": "rougeL"}),
        (captions.bleu, {"order": 1}),
        (captions.bleu, {"order": 4}),
        (captions.text_cosine, {"encode": lambda s: np.eye(len(s))}),
    ):
        np.testing.assert_allclose(function(REFERENCES, perfect, **options), 1, err_msg=str(options))
        wordless = function(REFERENCES, ["", " ", "?!"], **options)
        np.testing.assert_array_equal(wordless, 0, err_msg=str(options))
    assert (captions.meteor(REFERENCES, perfect) > 0.98).all()  # its penalty for a single chunk is never zero
    assert captions.meteor(REFERENCES, CAPTIONS)[2] == 0


def wordnet_without(entries):
    """A WordNet that knows each pair of words as synonyms."""
    from types import SimpleNamespace

    def synsets(word):
        return [
            SimpleNamespace(lemmas=lambda pair=pair: [SimpleNamespace(name=lambda w=w: w) for w in pair])
            for pair in entries
            if word in pair
        ]

    return SimpleNamespace(synsets=synsets)


def test_meteor_without_wordnet_matches_forms_and_stems_only():
    words = [["a", "red", "auto"], ["two", "dog", "run"]]
    references = [[["a", "red", "car"]], [["two", "dogs", "running"]]]
    expected = [
        meteor_score(several, one, wordnet=wordnet_without([])) for several, one in zip(references, words, strict=True)
    ]
    found = captions.meteor([["a red car"], ["two dogs running"]], ["a red auto", "two dog run"])
    np.testing.assert_allclose(found, expected)
    assert found[1] > 0.9  # stems
    assert found[0] < meteor_score(references[0], words[0], wordnet=wordnet_without([("car", "auto")]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a dog. a red cat", "a dog . a red cat"),
        ("A dog runs.  Is it red?\nYes!", "A dog runs . Is it red ? Yes !"),
        ('"a dog." a cat', "`` a dog . '' a cat"),
        ("a dog (running.) a cat", "a dog ( running . ) a cat"),
        ("a dog... and J. Smith at 3.5 m", "a dog ... and J. Smith at 3.5 m"),
        ("a dog.", "a dog ."),
    ],
)
def test_meteor_splits_texts_into_sentences_and_then_words(text, words):
    """The words are nltk's word_tokenize's, written down where its data were at hand."""
    reference = "a red dog . it runs"
    expected = meteor_score([reference.split()], words.split(), wordnet=wordnet_without([]))
    assert captions.meteor([[reference]], [text])[0] == pytest.approx(expected, abs=1e-12)
    expected = meteor_score([words.split()], reference.split(), wordnet=wordnet_without([]))
    assert captions.meteor([[text]], [reference])[0] == pytest.approx(expected, abs=1e-12)


# A WordNet of one synset: car, auto (synset offset 0 of a file of one line).
VERSION = "  1 WordNet 3.0 Copyright 2006 by Princeton University.\n"
LINE = "00000000 00 n 02 car 0 auto 0 000 | a vehicle  \n"


def tiny_wordnet(folder):
    folder.mkdir(parents=True)
    (folder / "lexnames").write_text("00\tadj.all\t3\n")
    for kind in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{kind}").write_text({"noun": LINE, "adj": VERSION}.get(kind, ""))
        (folder / f"{kind}.exc").write_text("")
        index = "auto n 1 0 1 0 00000000  \ncar n 1 0 1 0 00000000  \n" if kind == "noun" else ""
        (folder / f"index.{kind}").write_text(index)
    return folder


def test_meteor_with_wordnet_matches_synonyms(tmp_path):
    tiny_wordnet(tmp_path / "corpora" / "wordnet")
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        for file in (tmp_path / "corpora" / "wordnet").iterdir():
            archive.write(file, f"wordnet/{file.name}")
    tiny = {"source": {"folder": str(tmp_path)}, "files": {"wordnet.zip": None}}
    record = load_registry()["wordnet"].record | tiny
    folder = wordnet_folder(Backbone("wordnet", record), tmp_path / "unpacked")
    pair = [["a red car"]], ["a red auto"]
    with_synonyms = captions.meteor(*pair, wordnet=folder)
    expected = meteor_score([["a", "red", "car"]], pair[1][0].split(), wordnet=wordnet_without([("car", "auto")]))
    np.testing.assert_allclose(with_synonyms, [expected])
    assert with_synonyms > captions.meteor(*pair)

    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(UserError, match=r"backbone wordnet: no data\.noun in wordnet\.zip"):
        wordnet_folder(Backbone("wordnet", record), tmp_path / "other")


def test_cosine_is_that_of_the_best_reference_and_encodes_a_sentence_once():
    seen = []

    def encode(sentences):
        seen.extend(sentences)
        return np.array([[np.cos(len(s)), np.sin(len(s))] for s in sentences])

    references, given = [["abc", "abcdefgh"], ["abc"]], ["abcd", "abc"]
    np.testing.assert_allclose(captions.text_cosine(references, given, encode), [np.cos(1), 1])
    assert sorted(seen) == sorted(set(seen))


def test_sentence_vector_is_the_mean_over_words_without_padding(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "car", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = BertModel(config).eval()
    model.save_pretrained(tmp_path)
    record = load_registry()["all_minilm_l6"].record | {
        "source": {"folder": str(tmp_path)},
        "files": {"config.json": None, "model.safetensors": None},
    }
    encode = load_text_encoder(Backbone("tiny", record), "cpu")
    together, alone = encode(["a red car", "dog"]), encode(["dog"])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-6)
    tokenizer = BertTokenizerFast.from_pretrained(tmp_path)
    with torch.no_grad():
        states = model(**tokenizer(["a red car"], return_tensors="pt")).last_hidden_state[0]
    expected = states.mean(0) / states.mean(0).norm()
    np.testing.assert_allclose(together[0], expected.numpy(), atol=1e-6)


def test_coco_metrics_without_their_package_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    for function in (captions.cider, captions.spice):
        with pytest.raises(UserError, match="pip install pycocoevalcap"):
            function(REFERENCES, CAPTIONS)


@pytest.fixture
def optional(monkeypatch, tmp_path):
    """A stand-in for pycocoevalcap, whose SPICE lacks its parser."""
    names = ("", ".cider", ".cider.cider", ".spice", ".spice.get_stanford_models")
    modules = {name: types.ModuleType(f"pycocoevalcap{name}") for name in names}
    modules[".spice.get_stanford_models"].__dict__.update(SPICEDIR=str(tmp_path), SPICELIB="lib", JAR="corenlp-3.6.0")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"pycocoevalcap{name}", module)


def test_coco_metrics_without_java_say_so_in_one_line(optional, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for function, name in ((captions.cider, "CIDEr"), (captions.spice, "SPICE")):
        with pytest.raises(UserError, match=f"metrics: {name} needs Java, and there is no `java`") as raised:
            function(REFERENCES, CAPTIONS)
        assert "\n" not in str(raised.value)


def test_spice_without_its_parser_says_where_it_belongs_and_fetches_nothing(optional, monkeypatch, tmp_path):
    monkeypatch.setattr(captions.shutil, "which", lambda name: "/bin/java")
    with pytest.raises(UserError, match=r"needs corenlp-3\.6\.0\.jar of Stanford CoreNLP in .*lib; run `python -m"):
        captions.spice(REFERENCES, CAPTIONS)


def test_modules_load_by_path_without_network(tmp_path):
    """As someone else would use them: through `evaluate.load`, in a process without a network or a filled cache."""
    modules = REPOSITORY / "scripts/fmri2img/metrics/evaluate_modules"
    code = f"""
import socket
def refuse(*a, **k): raise AssertionError("network")
socket.socket.connect = refuse
import evaluate
for name in ("rouge", "meteor", "bleu"):
    module = evaluate.load(r"{modules}/" + name, keep_in_memory=True)
    found = module.compute(predictions={CAPTIONS!r}, references={REFERENCES!r})
    print([round(float(v), 6) for v in found[{{"rouge": "rougeL"}}.get(name, name)]])
"""
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [
        captions.rouge(REFERENCES, CAPTIONS, "rougeL"),
        captions.meteor(REFERENCES, CAPTIONS),
        captions.bleu(REFERENCES, CAPTIONS, 4),
    ]
    assert done.stdout.split("\n")[:3] == [str([round(float(v), 6) for v in values]) for values in expected]


def test_clip_score_is_of_the_picture_and_its_reference_form_a_harmonic_mean():
    """Hessel et al., equations 1 and 3, with vectors of two dimensions whose cosines are known."""
    angles = {"A photo depicts right": 0.0, "A photo depicts up": 90.0, "A photo depicts left": 180.0}
    angles |= {"A photo depicts slanted": 60.0, "A photo depicts .": 0.0}

    def encode(sentences):
        radians = np.deg2rad([angles[sentence] for sentence in sentences])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1)

    pictures = np.array([[3.0, 0.0]] * 5)  # not of length 1
    said = ["right", "slanted", "up", "left", "."]
    seen = captions.clip_score([[]] * 5, said, encode, pictures)
    assert seen == pytest.approx([2.5, 1.25, 0, 0, 0])
    references = [["up", "slanted"], ["right"], ["up"], ["left"], ["right"]]
    both = captions.ref_clip_score(references, said, encode, pictures)
    assert both == pytest.approx([2 * 2.5 * 0.5 / 3.0, 2 * 1.25 * 0.5 / 1.75, 0, 0, 0])
