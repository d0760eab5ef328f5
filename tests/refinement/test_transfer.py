from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from shape3d_amodal.refinement.network import RefinementConfig, RefinementNetwork
from shape3d_amodal.refinement.transfer import grown
from shape3d_amodal.structures import InstanceCrops

N, S = 3, 16
BARE = RefinementConfig(widths=(4, 8), embedding=4, priors=(), gate=False)


def crops() -> InstanceCrops:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (N, S, S), generator=generator)
    rgb = torch.rand(N, 3, S, S, generator=generator)
    return InstanceCrops(rgb, (label == 1).float(), (label == 2).float(), torch.arange(N), torch.zeros(N, 4))


def network(config: RefinementConfig) -> RefinementNetwork:
    torch.manual_seed(1)
    result = RefinementNetwork(config, 5).eval()
    for module in result.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return result


SHOWN = dict(zip(("learned", "bank"), torch.rand(2, N, S, S, generator=torch.Generator().manual_seed(2)), strict=True))
FIT = {"learned": torch.tensor([0.5, 0.9, 0.2]), "bank": torch.tensor([0.8, 0.1, 0.6])}


def run(of: RefinementNetwork, without: str = "") -> torch.Tensor:
    shown = [SHOWN[name] * (name != without) for name in of.priors]
    with torch.no_grad():
        return of(crops(), shown, [FIT[name] * (name != without) for name in of.priors])


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize(
    ("old", "new", "gate"),
    [
        ((), ("learned",), False),
        (("learned",), ("learned", "bank"), False),
        (("learned",), ("bank", "learned"), True),
        (("bank",), ("learned", "bank"), True),
    ],
)
def test_it_does_at_first_what_it_did(old: tuple, new: tuple, gate: bool, patch: int) -> None:
    first = replace(BARE, priors=old, gate=gate, patch=patch)
    second = replace(BARE, priors=new, gate=True, patch=patch)
    small, large = network(first), RefinementNetwork(second, 5).eval()
    large.load_state_dict(grown(small.state_dict(), first, second))
    torch.testing.assert_close(run(large), run(small))


def test_a_prior_that_is_left_out_is_one_that_is_not_shown() -> None:
    first, second = replace(BARE, priors=("learned", "bank"), gate=True), replace(BARE, priors=("learned",), gate=True)
    large, small = network(first), RefinementNetwork(second, 5).eval()
    small.load_state_dict(grown(large.state_dict(), first, second))
    torch.testing.assert_close(run(small), run(large, without="bank"))
    assert not torch.allclose(run(small), run(large))


@pytest.mark.parametrize(("gate", "priors"), [(False, ("learned",)), (True, ()), (False, ())])
def test_without_a_gate_or_priors_no_gate_is_left(gate: bool, priors: tuple) -> None:
    first = replace(BARE, priors=("learned", "bank"), gate=True)
    second = replace(BARE, priors=priors, gate=gate)
    state = grown(network(first).state_dict(), first, second)
    assert not {"gate.weight", "gate.bias"} & state.keys()
    RefinementNetwork(second, 5).load_state_dict(state)
