"""What is typed reaches Hydra's grammar as it stands; its own grammar is left alone."""

import itertools

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from nowcast.cli.quoting import in_grammar, literal, made_absolute, quoted
from nowcast.runtime.errors import UserError

PIECES = ("a", " ", "é", "'", '"', "\\", "${", "}", "[", "(", ",", "=", ":", "%", "#", "~", "\t")


def read(override):
    """The value that Hydra reads in an override, put into a configuration and taken out of it."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    config = OmegaConf.create({"key": None, "seed": 3})
    OmegaConf.update(config, "key", parsed.value())
    again = f"key={parsed.get_value_element_as_str()}"  # as sweepers hand it on to jobs
    assert OverridesParser.create().parse_overrides([again])[0].value() == parsed.value()
    return OmegaConf.to_container(config, resolve=True)["key"]


@pytest.mark.parametrize("first", PIECES)
def test_any_text_comes_out_of_hydras_grammar_as_it_was_typed(first):
    """All texts of three pieces that begin with one, and those with more of the difficult ones."""
    few = itertools.product([first], ("", *PIECES), ("", *PIECES))
    many = itertools.product([first], *[("\\", "${", "'", "}")] * 3)
    for text in map("".join, itertools.chain(few, many)):
        assert read(f"key={quoted(literal(text))}") == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [("${seed}", "\\${seed}"), ("\\${x}", "\\\\\\${x}"), ("a$b{c}", "a$b{c}"), ("\\", "\\")],
)
def test_a_reference_in_a_path_is_escaped_with_the_backslashes_before_it(text, kept):
    assert literal(text) == kept


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("seed=1,2", "seed=1,2"),
        ("~baselines.persistence", "~baselines.persistence"),
        ("+x.y=3", "+x.y=3"),
        ("name=a,b", "name='a,b'"),
        ("output_dir=null", "output_dir=null"),
        ("+output_dir=null", "output_dir=null"),
        ("data.archive=/a b,c.nc", "data.archive='/a b,c.nc'"),
        ("input=[a.h5,b/*.h5]", "input='[a.h5,b/*.h5]'"),
        ("run=shipped", "run='shipped'"),
        ("analysis_time=2020-06-01T00:00", "analysis_time='2020-06-01T00:00'"),
        ("hydra.run.dir=a b/${now:%H}", "hydra.run.dir='a b/${now:%H}'"),
        ("hydra.run.dir='a,b'", "hydra.run.dir='a,b'"),
        ("hydra/launcher=joblib", "hydra/launcher=joblib"),
    ],
)
def test_paths_names_and_times_are_put_into_quotes_and_nothing_else(typed, found):
    assert in_grammar([typed]) == [found]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("data.archive=choice(/a.nc,'/b c.nc')", "data.archive='/a.nc','/b c.nc'"),
        ("start_from=choice('null',shipped)", "start_from=null,'shipped'"),
        ("name=choice(a,3)", "name='a','3'"),
        ("name=choice", "name='choice'"),
    ],
)
def test_a_path_can_be_swept_over_by_a_choice(typed, found):
    assert in_grammar([typed], sweeps=True) == [found]
    (one,) = OverridesParser.create().parse_overrides(in_grammar([typed]))
    assert not one.is_sweep_override()  # without --multirun it is a name


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("max_epochs", "is not of the form KEY=VALUE"),
        ("=3", "is not of the form KEY=VALUE"),
        ("--fast", "there is no option '--fast'"),
        ("name=", "name is empty; give a value, or null for none"),
        ("hydra.run.dir=", "hydra.run.dir is empty; give a folder, or leave it out"),
    ],
)
def test_what_is_no_setting_is_refused(typed, said):
    with pytest.raises(UserError, match=said):
        in_grammar([typed])


def test_relative_paths_lead_to_the_same_files_from_another_folder():
    settings = {
        "run": "shipped",
        "name": "x",
        "output_dir": None,
        "evaluation": {"cache": "runs/cache", "level": 0.95},
        "data": {"archive": "/a.nc", "archives": "[b/*.nc,c.nc]"},
    }
    assert made_absolute(settings, "/home/[x]") == settings | {
        "evaluation": {"cache": "/home/[x]/runs/cache", "level": 0.95},
        "data": {"archive": "/a.nc", "archives": ["/home/[[]x]/b/*.nc", "/home/[[]x]/c.nc"]},
    }
