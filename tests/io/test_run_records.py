import hashlib

import numpy as np
import pytest

from cryodrgn.io import provenance
from cryodrgn.io.learning_curve import load_epoch_losses
from cryodrgn.io.provenance import describe_files
from cryodrgn.rundir import RunDirectory

OLD = "2020-01-02 03:04:05     "
LATENT = (
    "# =====> Epoch: {} Average gen loss = 0.5, KLD = 2.0, total loss = {}; Finished in 0:00:01"
)
SINGLE = "# =====> Epoch: {} Average loss = {}; Finished in 0:00:01"


@pytest.mark.parametrize("line", [OLD + LATENT, LATENT, SINGLE])
def test_losses_are_read_from_the_logs_of_all_versions(tmp_path, line):
    losses = [12.5, 0.75, 1e-3]
    text = [line.format(epoch, loss) for epoch, loss in enumerate(losses, start=1)]
    (tmp_path / "run.log").write_text("\n".join(["cryodrgn train_vae", *text]))
    np.testing.assert_array_equal(load_epoch_losses(RunDirectory(tmp_path)), losses)


def test_metrics_are_averaged_over_each_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,total\n0,1\n0,3\n1,0.5\n")
    assert load_epoch_losses(RunDirectory(tmp_path)).tolist() == [2.0, 0.5]


def test_a_run_without_reports_has_no_losses(tmp_path):
    assert len(load_epoch_losses(RunDirectory(tmp_path))) == 0


def test_files_are_described_by_size_and_hash(tmp_path, monkeypatch):
    content = bytes(range(256)) * 5
    (tmp_path / "a").write_bytes(content)
    (found,) = describe_files([tmp_path / "a", tmp_path / "missing"])
    assert found["size"] == "1.28 kB"
    assert found["sha256"] == hashlib.sha256(content).hexdigest()

    monkeypatch.setattr(provenance, "HASHED_WHOLE", 1000)
    monkeypatch.setattr(provenance, "END", 100)
    (found,) = describe_files([tmp_path / "a"])
    ends = hashlib.sha256(content[:100] + content[-100:]).hexdigest()
    assert found["sha256"].startswith(f"{ends} (of the first and last")
