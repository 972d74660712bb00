import subprocess
import sys

import pytest
import torch

from pipeline.train.optimizer import make_optimizer
from pipeline.train.recipes.load import Train
from tests.folders import ROOT

PROGRAM = """
import sys, torch
from pipeline.train.recipes.load import Train
from pipeline.train.optimizer import make_optimizer
layer = torch.nn.Linear(2, 2)
optimizer = make_optimizer(Train(), layer)
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_steps_are_those_of_torch(kind: str) -> None:
    options = Train(optimizer=kind, lr=0.1, weight_decay=0.2)  # type: ignore[arg-type]
    plain = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    optimizers = [
        make_optimizer(options, ours),
        plain(theirs.parameters(), lr=0.1, weight_decay=0.2),
    ]
    for _ in range(5):
        x = torch.randn(4, 3)
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    assert ours.weight.requires_grad


def test_the_compiler_is_not_imported() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, cwd=ROOT, env={"PYTHONPATH": "."})
