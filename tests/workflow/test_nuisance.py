import json

import numpy as np
import pytest

from cryodrgn.diagnosis.nuisance import NuisanceScore
from cryodrgn.diagnosis.rigid_motion import AxisChange
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.workflow.nuisance import describe


@pytest.fixture
def simulated(run, tmp_path):
    folder = tmp_path / "sim"
    arguments = ("-D", 24, "--Apix", 8, "-n", 300, "--num-states", 4, "--snr", 1)
    run("simulate", *arguments, "-o", folder)
    return folder


def test_a_latent_of_defocus_and_structure_is_told_apart(run, simulated, tmp_path, rng):
    from cryodrgn.io.cryodrgn_pickle import load_ctf

    defocus = load_ctf(simulated / "ctf.pkl")[0].defocus_u
    labels = np.load(simulated / "labels.npy")
    z = np.stack([10 * labels, (defocus - defocus.mean()) / defocus.std()], axis=1)
    z = z + 0.1 * rng.normal(size=z.shape)
    save_latents(tmp_path / "z.pkl", z, z)
    out = tmp_path / "out"
    text = run("nuisance", simulated / "particles.star", tmp_path / "z.pkl", "-o", out)
    assert "PC2 can be predicted from defocus (R² up to 0.9" in text
    found = json.loads((out / "nuisance.json").read_text())
    assert not found["is_pose_driven"]
    assert found["axes"]["PC1"]["agreement"] > 0.2
    assert found["axes"]["PC1"]["rigid_share"] < 0.4
    assert found["axes"]["PC1"]["defocus"] < 0.1
    assert (out / "nuisance.html").read_text().count("data:image/png") == 3


def test_latents_of_other_particles_are_refused(fail, run, simulated, tmp_path):
    z = np.zeros((200, 2))
    save_latents(tmp_path / "z.pkl", z, z)
    arguments = ("nuisance", simulated / "particles.star", tmp_path / "z.pkl")
    message = fail(*arguments, "-o", tmp_path / "out")
    assert "there are 200 latents, but" in message
    assert "--ind" in message
    save_pickles(tmp_path / "ind.pkl", [np.arange(100, 300)])
    text = run(*arguments, "--ind", tmp_path / "ind.pkl", "-o", tmp_path / "out")
    assert "No change of structure above noise" in text


def axis(agreement, rigid=0.0, contrast=0.0, power=1.0):
    return AxisChange(
        power=power,
        agreement=agreement,
        rigid_share=rigid,
        contrast_share=contrast,
        chance=0.01,
    )


def test_the_verdict_says_what_counts():
    none = NuisanceScore(
        name="shift",
        explained=np.array([0.0, 0.0]),
        baseline=np.zeros(2),
        baseline_deviation=np.zeros(2),
    )
    labels = ["PC1", "PC2"]
    sentence, driven = describe(labels, [axis(0.3, 0.9), axis(0.01, 0.1)], [none])
    assert driven
    assert sentence.startswith("The latent space is pose-driven: 90 % of what changes")
    sentence, driven = describe(labels, [axis(0.3, 0.9), axis(0.3, 0.1, power=3.0)], [none])
    assert not driven
    assert sentence == "Errors of the poses show along PC1."
    sentence, _ = describe(labels, [axis(0.3), axis(0.2)], [none])
    assert sentence.startswith(
        "No nuisance explains what changes along PC1, PC2: it is structure, or"
    )
    sentence, _ = describe(labels, [axis(0.01), axis(0.2)], [none])
    assert sentence.startswith("No nuisance explains what changes along PC2: it is")
    assert sentence.endswith("; no change above noise was found along PC1.")
