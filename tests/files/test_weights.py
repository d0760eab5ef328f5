"""Shipped weights: the same text and tensors back, and every damage an error that names the file."""

from __future__ import annotations

import subprocess

import pytest
import torch
from safetensors.torch import load_file

from shape3d_amodal.errors import WeightsError
from shape3d_amodal.files.weights import load_weights, save_weights

TEXT = "name: größer\nsteps: 3\n"


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    shared = torch.arange(6.0)
    return {
        "weight": shared.reshape(2, 3).T,  # not contiguous
        "tied": shared,  # shares memory with it
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 4),
    }


def test_gives_back_what_was_saved(tmp_path, state):
    save_weights(tmp_path / "a" / "weights", TEXT, state)
    text, loaded = load_weights(tmp_path / "a" / "weights")
    assert text == TEXT and loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype
    save_weights(tmp_path / "a" / "weights", "new: 1\n", {})
    assert load_weights(str(tmp_path / "a" / "weights")) == ("new: 1\n", {})
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["weights"]


def test_what_other_weights_have_is_left_out_and_found_again(tmp_path, state):
    save_weights(tmp_path / "base", TEXT, state)
    changed = {**state, "weight": state["weight"] + 1, "half": state["half"].float(), "new": torch.ones(2)}
    del changed["empty"]
    save_weights(tmp_path / "heads" / "a", "a: 1\n", changed, base=tmp_path / "base")
    text, loaded = load_weights(tmp_path / "heads" / "a")
    assert text == "a: 1\n" and loaded.keys() == changed.keys()
    assert all(torch.equal(loaded[name], changed[name]) for name in changed)
    assert loaded["half"].dtype == torch.float32
    assert load_file(tmp_path / "heads" / "a" / "model.safetensors").keys() == {"weight", "half", "new"}
    (tmp_path / "base").rename(tmp_path / "gone")
    with pytest.raises(WeightsError, match=r"base/sha256: cannot read the file"):
        load_weights(tmp_path / "heads" / "a")
    save_weights(tmp_path / "base", TEXT, {**state, "count": torch.tensor(8)})
    with pytest.raises(WeightsError, match=r"base: these are not the weights that those in .* were made on"):
        load_weights(tmp_path / "heads" / "a")


def test_the_manifest_is_sha256sums_own(tmp_path, state):
    save_weights(tmp_path / "weights", TEXT, state)
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "sha256"], cwd=tmp_path / "weights", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["config.yaml:", "OK", "model.safetensors:", "OK"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.yaml").write_text("name: other\n"), r"config\.yaml: the file is damaged"),
        (lambda folder: (folder / "config.yaml").unlink(), r"config\.yaml: cannot read the file: No such file"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors: cannot read the file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), r"model\.safetensors: the file is damaged"),
        (lambda folder: (folder / "sha256").unlink(), r"sha256: cannot read the file"),
        (lambda folder: (folder / "sha256").write_text("abc  config.yaml\n"), r"sha256: expected lines of"),
        (lambda folder: (folder / "sha256").write_text(""), r"sha256: expected a line for config\.yaml, found none"),
    ],
)
def test_damage_is_an_error_that_names_the_file(tmp_path, state, damage, said):
    save_weights(tmp_path / "weights", TEXT, state)
    damage(tmp_path / "weights")
    with pytest.raises(WeightsError, match=said) as caught:
        load_weights(tmp_path / "weights")
    assert "\n" not in str(caught.value)


def test_a_pickle_with_a_right_checksum_is_refused(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "pickle")
    from shape3d_amodal.files.weights import write_sealed

    content = (tmp_path / "pickle").read_bytes()
    write_sealed(tmp_path / "weights", {"config.yaml": b"", "model.safetensors": content})
    with pytest.raises(WeightsError, match=r"model\.safetensors: expected a safetensors file"):
        load_weights(tmp_path / "weights")


def test_never_replaces_a_folder_of_other_things(tmp_path, state):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(WeightsError, match=r"home: expected a new folder.*found thesis\.tex"):
        save_weights(tmp_path / "home", TEXT, state)
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "thesis.tex"]
