"""Names of the files that linear runs and their densities consist of."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LinearFiles:
    """Files of a linear run beside those of every run.

    Attributes:
        path: The folder of the run.
    """

    path: Path

    @property
    def covariances(self) -> Path:
        """Posterior covariance of every particle's latent."""
        return self.path / "z_cov.npy"

    @property
    def half_latents(self) -> Path:
        """Latents by the half models: even rows by the first, odd rows by the second."""
        return self.path / "z_half.npy"

    @property
    def contrasts(self) -> Path:
        """Contrast of every particle."""
        return self.path / "contrast.npy"

    @property
    def mean(self) -> Path:
        """The mean volume."""
        return self.path / "mean.mrc"

    @property
    def mask(self) -> Path:
        """Mask of the molecule."""
        return self.path / "mask.mrc"

    @property
    def spectrum(self) -> Path:
        """Spectrum of the components: variance of each, and the number that carry signal."""
        return self.path / "spectrum.txt"

    @property
    def noise(self) -> Path:
        """Variance of the noise by shell and optics group."""
        return self.path / "noise.txt"

    def component(self, number: int) -> Path:
        """The map of a component, counted from 1."""
        return self.path / f"component{number}.mrc"

    def fsc(self, number: int) -> Path:
        """Half-map correlation of a component; 0 is the mean."""
        return self.path / f"component{number}.fsc.txt"

    def fixed(self) -> tuple[Path, ...]:
        """The files whose names do not depend on the number of components."""
        return (
            self.covariances,
            self.half_latents,
            self.contrasts,
            self.mean,
            self.mask,
            self.spectrum,
            self.noise,
        )


@dataclass(frozen=True, slots=True)
class DensityFiles:
    """The files of a density of conformations.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def table(self) -> Path:
        """Axes, density and bootstrap samples."""
        return self.path / "density.npz"

    @property
    def figure(self) -> Path:
        """A picture of it."""
        return self.path / "density.png"

    @property
    def path_text(self) -> Path:
        """z-values along a path of high density."""
        return self.path / "path.txt"
