from __future__ import annotations

import torch
from torch import nn

from shape3d_amodal.training.loop.ema import WeightAverage


def module() -> nn.Module:
    net = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "n": nn.BatchNorm1d(1), "f": nn.Linear(1, 1, bias=False)})
    net["f"].requires_grad_(False)
    nn.init.constant_(net["a"].weight, 1.0)
    return net


def test_mean_by_hand():
    net = module()
    average = WeightAverage(net, 0.15)
    for step, (weight, expected) in enumerate([(2.0, 1.9), (4.0, 3.685), (4.0, 3.95275)]):
        # decay 1/10 at step 0, then 2/11 > 0.15: 0.1*1 + 0.9*2; 0.15*1.9 + 0.85*4; 0.15*3.685 + 0.85*4
        nn.init.constant_(net["a"].weight, weight)
        net["n"].running_mean += 1
        net["n"].num_batches_tracked += 1
        nn.init.constant_(net["f"].weight, float(step))
        average.update(step)
        assert torch.allclose(average.state["a.weight"], torch.tensor(expected))
    assert average.state["n.running_mean"].item() == 3 and average.state["n.num_batches_tracked"].item() == 3
    assert average.state["f.weight"].item() == 2.0


def test_applied_lends_the_mean_and_gives_the_own_weights_back():
    net = module()
    average = WeightAverage(net, 0.9)
    parameter = net["a"].weight
    nn.init.constant_(parameter, 5.0)
    with average.applied():
        assert parameter.item() == 1.0 and net["a"].weight is parameter
    assert parameter.item() == 5.0


def test_off():
    net = module()
    average = WeightAverage(net, 0.0)
    average.update(0)
    with average.applied():
        assert average.state == {} and net["a"].weight.item() == 1.0
