import subprocess
import sys

import torch

from cryodrgn.training.optimizers import Adam, adam
from finished_run import SMALL_VAE

# Loaded by what needs it: the compiler of torch, compiled loops, trees of neighbours.
NOT_NEEDED = ("torch._dynamo", "sympy", "numba", "scipy", "sklearn", "matplotlib")


def test_the_optimiser_is_that_of_pytorch_bit_for_bit():
    start = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1))
    settings = {"lr": 1e-2, "weight_decay": 0.1, "fused": True}
    found = []
    for kind in (torch.optim.Adam, Adam):
        weight = torch.nn.Parameter(start.clone())
        optimizer = kind([weight], **settings)
        for number, target in enumerate(targets):
            optimizer.zero_grad()
            (weight - target).square().sum().backward()
            optimizer.step()
            if number == 1:
                state, optimizer = optimizer.state_dict(), kind([weight], lr=1.0)
                optimizer.load_state_dict(state)
        found.append((weight, optimizer.state_dict()))
    (theirs, their_state), (ours, our_state) = found
    assert torch.equal(ours, theirs)
    assert our_state["param_groups"] == their_state["param_groups"]
    for name, value in their_state["state"][0].items():
        assert torch.equal(our_state["state"][0][name], value)


def test_a_step_leaves_gradients_enabled_and_follows_none():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = adam([weight], torch.device("cpu"), learning_rate=0.1)
    weight.sum().backward()
    optimizer.step()
    assert torch.is_grad_enabled()
    assert weight.grad_fn is None


def test_training_on_a_processor_loads_no_library_that_it_does_not_need(run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 16, "--num-states", 1, "-o", tmp_path)
    words = ["train_vae", tmp_path / "particles.star", "--zdim", 1, "-n", 1, *SMALL_VAE]
    words += ["--do-pose-sgd", "--pretrain", 0, "--device", "cpu", "-o", tmp_path / "run"]
    code = (
        "import sys\nfrom cryodrgn.cli.main import main\n"
        "from cryodrgn.jobs.train_vae import TrainVae\n"
        # Particles are judged, and pictures drawn, after training.
        f"loaded = lambda *_: print([name for name in {NOT_NEEDED!r} if name in sys.modules])\n"
        "TrainVae.judge = loaded\n"
        f"assert main({[str(word) for word in words]!r}) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
