"""Settings: one declaration per key checks it, fills in its default, and words its error."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from fmri2img.code_identity import code_of
from fmri2img.errors import UserError
from fmri2img.settings import base


class Inner(base.Settings):
    steps: base.Positive = Field(description="Steps.")
    share: base.Share = 0.5
    kind: Literal["a", "b"] = "a"
    copied: str | None = Field(None, alias="copy")

    @model_validator(mode="after")
    def _few(self):
        if self.steps > 100:
            raise base.WrongKey("steps", f"{self.steps} are too many; use 100")
        return self


class Outer(base.Settings):
    seeds: base.Unique[base.Count] = Field(min_length=1)
    inner: Inner
    parts: dict[str, Inner] = Field({})
    rows: list[Inner] = Field([])
    optional: Inner | None = None
    flag: bool = False
    name: Annotated[str, *base.matching("[a-z]+", "lowercase letters")] = "x"
    budget: Annotated[int | Literal["all"], base.one_of("a whole number or all; give one")] = "all"
    sizes: base.Fixed[base.Positive] = (1, 2)


RIGHT = {"seeds": [0], "inner": {"steps": 3}}


def test_defaults_are_filled_in_and_whole_numbers_are_taken_for_fractions():
    settings = Outer.read(RIGHT | {"inner": {"steps": 3, "share": 1}, "sizes": [4, 5]})
    record = settings.to_dict()
    assert record["inner"] == {"steps": 3, "share": 1.0, "kind": "a", "copy": None}
    assert record["sizes"] == [4, 5] and settings.sizes == (4, 5)
    assert Outer.read(record) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [1]}, "key 'sedes': unknown; did you mean 'seeds'?"),
        ({"inner": {"steps": 3, "zzz": 1}}, "key 'inner.zzz': unknown; known keys: steps, share, kind, copy"),
        ({"inner": {}}, "key 'inner.steps': missing; add it"),
        ({"inner": {"steps": "3"}}, "key 'inner.steps': '3' is not a whole number; give one, without quotes"),
        ({"inner": {"steps": 3.0}}, "key 'inner.steps': 3.0 is not a whole number; give one, without quotes"),
        ({"inner": {"steps": True}}, "key 'inner.steps': true is not a whole number; give one, without quotes"),
        ({"inner": {"steps": 0}}, "key 'inner.steps': 0 is out of range; it must be at least 1"),
        ({"inner": {"steps": 101}}, "key 'inner.steps': 101 are too many; use 100"),
        ({"inner": {"steps": 1, "share": 1.5}}, "key 'inner.share': 1.5 is out of range; it must be at most 1"),
        ({"inner": {"steps": 1, "share": float("nan")}}, "key 'inner.share': nan is not a finite number; give one"),
        ({"inner": {"steps": 1, "share": True}}, "key 'inner.share': true is not a number; give one, without quotes"),
        ({"inner": {"steps": 1, "kind": "c"}}, "key 'inner.kind': 'c' is not one of a, b"),
        ({"inner": None}, "key 'inner': null is not a table of keys and values; indent its keys below it"),
        ({"optional": [1]}, "key 'optional': [1] is not a table of keys and values; indent its keys below it"),
        ({"parts": {"one": {"steps": 1, "copi": 1}}}, "key 'parts.one.copi': unknown; did you mean 'copy'?"),
        ({"rows": [{"steps": 1}, {"steps": 200}]}, "key 'rows.1.steps': 200 are too many; use 100"),
        ({"seeds": 0}, "key 'seeds': 0 is not a list; write its entries in square brackets"),
        ({"seeds": []}, "key 'seeds': is empty; give at least 1"),
        ({"seeds": [0, 1, 0]}, "key 'seeds': 0 is listed twice; remove one"),
        ({"seeds": [0, -1]}, "key 'seeds.1': -1 is out of range; it must be at least 0"),
        ({"flag": 1}, "key 'flag': 1 is not true or false; give one of them"),
        ({"name": "My\nname"}, r"key 'name': 'My\nname' is not made of lowercase letters; rename it"),
        ({"name": 3}, "key 'name': 3 is not text; write it in quotes, in a file (--config drops them)"),
        ({"budget": "most"}, "key 'budget': 'most' is not a whole number or all; give one"),
        ({"sizes": []}, "key 'sizes': is empty; give at least 1"),
        ({1: 2}, "key '1': unknown; known keys: seeds, inner, parts, rows, optional, flag, name, budget, sizes"),
    ],
)
def test_a_wrong_value_is_one_line_with_key_problem_and_remedy(change, message):
    with pytest.raises(UserError) as caught:
        Outer.read(RIGHT | change)
    assert str(caught.value) == f"configuration: {message}"


def test_a_record_names_its_file_and_the_key_it_stands_under():
    with pytest.raises(UserError) as caught:
        Inner.read({"steps": "x" * 200}, "model/config.json", "model")
    assert str(caught.value).startswith("model/config.json: key 'model.steps': 'xxx")
    assert len(str(caught.value)) < 200
    with pytest.raises(UserError, match=r"^configuration: null is not a table of keys"):
        Outer.read(None)


def test_the_description_of_a_key_reruns_no_job_and_its_default_does(tmp_path):
    source = "from pydantic import Field\nsteps: int = Field({}, description='{}')\n"
    codes = []
    for number, fields in enumerate([(3, "Steps."), (3, "Number of steps."), (4, "Steps.")]):
        script = tmp_path / f"script_{number}.py"
        script.write_text(source.format(*fields))
        codes.append(code_of(script))
    assert codes[0] == codes[1] != codes[2]
