"""nowcast COMMAND --help: every group, key and value, with what they mean, made from the files."""

import pytest
import yaml

from nowcast.cli import _COMMANDS, main
from nowcast.cli import config as configuration
from nowcast.cli.places import choices

WITH_SETTINGS = [
    "train",
    "evaluate",
    "report",
    "predict",
    "convert",
    "info",
    "check",
    "watch",
    "replay",
    "serve",
    "compare",
    "benchmark",
]


def shown(capsys, *typed):
    main(list(typed))
    return capsys.readouterr().out


def leaves(settings, before=""):
    for key, value in settings.items():
        if isinstance(value, dict) and key not in ("models", "hydra"):
            yield from leaves(value, f"{before}{key}.")
        elif key not in ("_target_", "hydra"):
            yield f"{before}{key}"


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_explains_itself_within_100_columns(command, capsys):
    text = shown(capsys, command, "--help")
    assert text.startswith(f"nowcast {command}: ")
    assert max(map(len, text.splitlines())) <= 100
    for title in ("\nusage\n", "\noptions\n", "\nexamples\n"):
        assert title in text
    examples = text.partition("\nexamples\n")[2].splitlines()
    assert examples and all(line.startswith(f"  nowcast {command}") for line in examples)


@pytest.mark.parametrize("command", WITH_SETTINGS)
def test_every_setting_of_a_command_stands_in_its_help(command, capsys):
    text = shown(capsys, command, "--help")
    composed = configuration.compose(command, [])
    keys = list(leaves(configuration.OmegaConf.to_container(composed, resolve=False)))
    words = {word.partition("=")[0] for line in text.splitlines() for word in line.split()[:1]}
    assert [key for key in keys if key not in words] == []


def test_the_help_of_a_multirun_is_that_of_what_all_its_jobs_have(capsys):
    text = " ".join(shown(capsys, "train", "-h", "-m", "seed=1,2", "model=unet").split())
    assert "*unet" in text and "seed=1 of everything random" in text


def test_groups_are_shown_with_their_choices_and_the_chosen_one_is_marked(capsys):
    text = " ".join(shown(capsys, "train", "--help").split())
    for group in ("model", "loss", "experiment", "training"):
        assert all(name in text for name in choices(group))
    assert "convgru_moving_mnist, *convlstm_coarse_to_fine, convlstm_s, convlstm_small" in text
    assert "training minutes, *moving_mnist, shi2015" in text
    assert "data mixture, *moving_mnist, radar, radar_events, synthetic_rain" in text
    paper = ["experiment=shi2015_moving_mnist", "training=minutes"]
    text = " ".join(shown(capsys, "train", *paper, "--help").split())
    assert "*shi2015, simvp" in text and "training *minutes, moving_mnist, shi2015" in text


def test_the_meaning_is_that_of_the_docstring_or_of_the_comment_in_the_file(capsys):
    text = " ".join(shown(capsys, "train", "--help").split())
    assert "training.learning_rate=0.04 at its highest" in text
    assert "seed=1 of everything random: weights, data, order" in text
    assert "training: TrainingSettings. How to train." in text
    text = " ".join(shown(capsys, "predict", "--help").split())
    assert "output=... FILE.nc, or FILE.h5 (ODIM, one file for each lead time)" in text


def test_help_is_that_of_what_was_chosen(capsys):
    text = shown(capsys, "train", "--help", "model=predrnn", "training.max_epochs=33")
    assert "model: PredRNN." in text and "*predrnn" in text and "training.max_epochs=33" in text


def test_a_mistake_beside_help_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help", "model=predrn"])
    assert "did you mean model=predrnn?" in capsys.readouterr().err


def test_the_help_of_a_training_names_what_hydra_offers(capsys):
    text = shown(capsys, "train", "--help")
    for word in ("--multirun, -m", "hydra/sweeper=NAME", "hydra/launcher=NAME", "--cfg hydra|all"):
        assert word in text
    assert "--multirun" not in shown(capsys, "predict", "--help")


def test_the_settings_of_hydra_are_shown_with_the_folders_they_would_have(capsys, tmp_path):
    text = shown(capsys, "train", "--cfg", "hydra", f"output_dir={tmp_path}", "hydra.job.name=x")
    hydra = yaml.safe_load(text)["hydra"]
    assert hydra["run"]["dir"] == str(tmp_path) and hydra["job"]["name"] == "x"
    assert "TIME" not in text
    everything = yaml.safe_load(shown(capsys, "train", "--cfg", "all", "seed=7"))
    assert everything["seed"] == 7 and everything["hydra"]["job"]["name"] == "train"
    part = shown(capsys, "train", "--cfg", "job", "--package", "training")
    assert part.startswith("# @package training\n_target_: nowcast.training.settings")
    typed = ["compare", "--cfg", "hydra", "hydra/launcher=joblib", "--package", "hydra.launcher"]
    assert "joblib_launcher.JoblibLauncher" in shown(capsys, *typed)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["train", "--info", "defaults", "model=unet"], "| model/unet"),
        (["train", "--info", "defaults-tree"], "data: moving_mnist:"),
        (["train", "--info=searchpath"], "pkg://hydra.conf"),
        (["train", "-i", "config", "seed=77"], "seed: 77"),
        (["train", "--info", "plugins"], "BasicSweeper"),
        (["train", "--info"], "Defaults Tree"),
        (["predict", "--info", "defaults"], "reader/auto"),
        (["train", "--hydra-help"], "hydra/launcher: basic"),
    ],
)
def test_hydra_shows_how_a_command_is_composed(typed, expected, capsys):
    assert expected in shown(capsys, *typed)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nowcast tra", {"train"}),
        ("nowcast train model=predr", {"model=predrnn"}),
        ("nowcast train training.max_ep", {"training.max_epochs="}),
        ("python train.py experiment=smo", {"experiment=smoke"}),
        ("nowcast predict reader=knm", {"reader=knmi_hdf5"}),
    ],
)
def test_a_shell_completes_commands_groups_and_keys(line, expected, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    assert set(shown(capsys, "-sc", "query=bash").split()) == expected
    script = shown(capsys, "--shell-completion", "install=bash")
    assert "-sc query=bash" in script and "complete -o nospace" in script


def test_a_shell_that_nobody_knows_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["-sc", "install=tcsh"])
    assert "--shell-completion takes install=SHELL or uninstall=SHELL" in capsys.readouterr().err
