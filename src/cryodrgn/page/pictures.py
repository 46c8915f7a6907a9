"""Images of single particles beside what the model predicts of them."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.data.prepared import Storage
from cryodrgn.errors import InputFileError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice
from cryodrgn.imaging.likelihood import predict
from cryodrgn.models.build import stored_lattice
from cryodrgn.page.volumes import VolumeDesk
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.trained import prepare_as_trained

# Share of the Nyquist frequency at which the shown image is cut, so that one sees the particle.
LOW_PASS = 0.25


def particle_pictures(
    desk: VolumeDesk,
    particles: ParticleSet,
    row: int,
    latent: Float[np.ndarray, " z"],
) -> dict[str, Float[np.ndarray, "box box"]]:
    """The first image of a particle: as stored, low-passed, and as the model predicts it.

    The low-passed image and the prediction (slice of the volume at the particle's latent,
    times CTF) are centred by the particle's shift and cut at the same frequency; the
    prediction is also returned whole.

    Args:
        desk: The model.
        particles: All particles of the run.
        row: Which one.
        latent: Where it lies.

    Raises:
        CryodrgnError: The image is not there any more, or does not fit the model.
    """
    table = particles.first_images
    if particles.offsets is None:
        table = table.select(np.array([row]))
    else:
        table = particles.images.select(particles.offsets[row : row + 1])
    one = ParticleSet.of_single_images(table)
    trained, cpu = desk.trained, torch.device("cpu")
    storage = Storage(scratch_dir=Path(), on_disk=False)
    try:
        prepared = prepare_as_trained(trained, one, cpu, storage=storage)
        raw = table.read(np.array([0]))[0]
    except OSError as error:
        msg = f"the image of particle {row} cannot be read: {error.strerror}"
        raise InputFileError(msg) from error
    batch = prepared.batch(torch.tensor([0]))
    slices = batch.whole_slices(desk.predicted_slices(batch.coordinates, latent[None]))
    # What a network has not been told about lies in one place: its normalised units.
    predicted = predict(slices, batch.compared_transfer())
    lattice = stored_lattice(trained.config)
    values = torch.zeros(1, len(lattice), 2)
    within = slice(None) if batch.compared is None else batch.compared
    values[:, within] = predicted
    shown = _low_passed(batch.images, lattice)
    return {
        "raw": raw,
        "low-passed": shown,
        "predicted": images_from_lattice(values, lattice)[0].numpy(),
        "predicted low-passed": _low_passed(values, lattice),
    }


def _low_passed(
    values: Float[torch.Tensor, "images points 2"], lattice: HalfPlaneFrequencies
) -> Float[np.ndarray, "box box"]:
    """An image without the frequencies at which its noise is stronger than the particle."""
    radius = lattice.frequencies.norm(dim=-1)
    # A cosine edge, so that the edge does not ring.
    edge = (radius / (LOW_PASS / 2)).clamp(0, 2)
    weight = torch.where(edge < 1, 1.0, (1 + torch.cos(torch.pi * (edge - 1))) / 2)
    return images_from_lattice(values * weight[:, None], lattice)[0].numpy()


def low_passed_image(image: Float[np.ndarray, "box box"]) -> Float[np.ndarray, "box box"]:
    """A stored image without high frequencies, where no model is there to compare it with."""
    lattice = HalfPlaneFrequencies.disc(image.shape[-1])
    values = transform_on_lattice(torch.from_numpy(image)[None], lattice)
    return _low_passed(values, lattice)
