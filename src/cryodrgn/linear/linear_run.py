"""A linear run, or states reconstructed from its latents, as the beginning of a network."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.counts import counted
from cryodrgn.data.config import DataConfig
from cryodrgn.data.prepared import Storage
from cryodrgn.errors import ConfigError, CryodrgnError, InputFileError
from cryodrgn.io.masks import read_mask
from cryodrgn.io.recorded_files import number_explained, require_particles_of_run
from cryodrgn.io.run_config import find_run_config, load_run_config, reconstruction_of_record
from cryodrgn.io.text import missing_in_words
from cryodrgn.linear.latents import Latents, run_latents
from cryodrgn.linear.prepared_states import prepare_states
from cryodrgn.linear.states import StateSettings, functions_of
from cryodrgn.linear.subspace import grid_size
from cryodrgn.models.basis import BasisModel
from cryodrgn.models.registry import sum_of_volumes
from cryodrgn.models.settings import LinearEncoderConfig, LinearNetworkConfig
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.optics_groups import shares_of_optics
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.trained import TrainedModel
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.linear_start import Embedding, LinearStart

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearRun:
    """A linear model as a run has written it.

    Attributes:
        folder: Of the run.
        trained: Its model, and how its images were prepared.
        functions: Functions of the latent, and their volumes if they are known.
        has_volumes: Whether the volumes are known; otherwise they are regressed on images.
        embedding: The model that tells latents of images; None if there is none.
        latents: Latents of its particles.
        settings: How volumes are regressed.
        may_hide_contrasts: Whether contrasts were taken for 1 because the run was told so, so
            that components may follow them.
    """

    folder: Path
    trained: TrainedModel
    functions: BasisModel
    has_volumes: bool
    embedding: BasisModel | None
    latents: Latents
    settings: StateSettings
    may_hide_contrasts: bool

    @classmethod
    def open(cls, folder: Path, seed: int) -> "LinearRun":
        """Read a run of ``train_linear``, or of ``reconstruct_states``.

        Args:
            folder: Of the run.
            seed: Of the choice of landmarks, where functions are still to be found.

        Raises:
            InputFileError: A file of it is missing or damaged.
            ConfigError: It is a run of another kind.
        """
        if not folder.exists():
            raise InputFileError(missing_in_words(folder))
        run = RunDirectory(folder)
        if not run.holds_run:
            msg = (
                f"{folder} is no folder of a run: it has no config.yaml; expected one of "
                "train_linear, or of reconstruct_states on its latents"
            )
            raise InputFileError(msg)
        trained, recorded = _model_of(run)
        model = sum_of_volumes(trained.model.decoder)
        if model is None:
            msg = (
                f"{folder} holds a run of a network, expected one of train_linear, or of "
                "reconstruct_states on its latents"
            )
            raise ConfigError(msg)
        latents = run_latents(run)
        symmetry = reconstruction_of_record(recorded).get("symmetry", "C1")
        settings = StateSettings(seed=seed, symmetry=symmetry, functions="best")
        embedding, has_volumes, made = model, False, recorded
        if not model.config.num_groups:
            embedding, made = _embedding_of(recorded.get("latents"))
            has_volumes = True
        if trained.ewald:
            msg = (
                f"{folder} was fitted with the curvature of the Ewald sphere (train_linear "
                "`ewald`), which networks do not know; give a run without it"
            )
            raise ConfigError(msg)
        return cls(
            folder=folder,
            trained=trained,
            functions=model if has_volumes else functions_of(latents, settings, model.box_size),
            has_volumes=has_volumes,
            embedding=embedding,
            latents=latents,
            settings=settings,
            may_hide_contrasts=reconstruction_of_record(made).get("with_contrast") is False,
        )

    def sizes(self) -> tuple[LinearNetworkConfig, LinearEncoderConfig | None]:
        """Sizes of the linear model in a decoder and in an encoder; None without the latter."""
        shape, encoder = self.functions.config, None
        if self.embedding is not None:
            told = self.embedding.config
            encoder = LinearEncoderConfig(
                linear_dim=told.latent_dim,
                radius=told.radius,
                grid_size=grid_size(told.radius, told.box_size),
            )
        decoder = LinearNetworkConfig(
            linear_dim=shape.latent_dim,
            num_functions=shape.num_functions,
            num_landmarks=shape.num_landmarks,
            num_neighbours=shape.num_neighbours,
        )
        return decoder, encoder

    @property
    def contrast_spread(self) -> float:
        """Standard deviation of the contrasts of images; 0 where all are 1."""
        model = self.embedding
        return 0.0 if model is None else float(model.get_buffer("contrast_spread"))

    def check(self, particles: ParticleSet, *, invert: bool) -> None:
        """Refuse images of another kind than those of the linear model.

        Args:
            particles: The particles of the network.
            invert: Whether the sign of their images is changed.

        Raises:
            ConfigError: Box size, pixel size or sign differ, or the order of particles whose
                latents are needed.
        """
        box_size, pixel_size = self.functions.box_size, self.trained.pixel_size
        if particles.box_size != box_size:
            msg = (
                f"{self.folder} has volumes of {box_size} px, but the images of "
                f"{particles.source} have {particles.box_size} px; fit both at one box size "
                "(`box_size`)"
            )
            raise ConfigError(msg)
        found = particles.require_pixel_size()
        if abs(found - pixel_size) > 1e-3 * pixel_size:
            msg = (
                f"{self.folder} has volumes of {pixel_size:g} Å/px, but the images of "
                f"{particles.source} have {found:g} Å/px"
            )
            raise ConfigError(msg)
        if invert != self.trained.invert:
            there, here = (
                ("changes", "keeps it") if self.trained.invert else ("keeps", "changes it")
            )
            msg = (
                f"{self.folder} {there} the sign of its images, and this run {here} "
                "(`invert`); give both the same"
            )
            raise ConfigError(msg)
        # Volumes that are still to be regressed need the particles of the latents.
        if not self.has_volumes:
            require_particles_of_run(self.folder, particles)

    def start(
        self,
        data: DataConfig,
        particles: ParticleSet,
        visited: Int[Tensor, " visited"] | None,
        device: torch.device,
        storage: Storage,
        *,
        team: Team = ALONE,
        with_encoder: bool = True,
    ) -> LinearStart:
        """Volumes and functions that a network begins with.

        Args:
            data: What is done to the images.
            particles: The particles of the network.
            visited: Those that it is trained on, from whose images volumes are regressed where
                they are still to be; None for all.
            device: Where to compute.
            storage: Where prepared images are kept.
            team: Processes that share the images.
            with_encoder: Whether latents are told by the linear model.

        Raises:
            CryodrgnError: The latents are of other particles.
        """
        functions = self.functions
        if not self.has_volumes:
            functions = self._regressed(data, particles, visited, device, storage, team)
        functions = functions.cpu()
        tables = {}
        if functions.config.kind == "basis":
            tables = functions.functions.state_dict()
        return LinearStart(
            volumes=functions.get_buffer("volumes"),
            functions=tables,
            embedding=self._embedding() if with_encoder else None,
            contrast_spread=self.contrast_spread,
            noise=self._noise_of(particles),
        )

    def _noise_of(self, particles: ParticleSet) -> Float[Tensor, "groups shells"] | None:
        """Variances of the noise of the optics groups that particles have."""
        model = self.embedding
        if model is None:
            return None
        optics, spectra = (model.get_buffer(name).cpu() for name in ("optics", "noise"))
        shares = shares_of_optics(particles.images, optics.numpy())
        return torch.from_numpy(shares) @ spectra

    def _regressed(
        self,
        data: DataConfig,
        particles: ParticleSet,
        visited: Int[Tensor, " visited"] | None,
        device: torch.device,
        storage: Storage,
        team: Team,
    ) -> BasisModel:
        """Volumes regressed on the images, of the functions that suit them better.

        ``reconstruct_states`` does so: smooth functions, or the coordinates of the latent.
        """
        if len(self.latents.mean) != len(particles):
            advice = number_explained(self.folder, particles)
            msg = (
                f"{self.folder} holds latents of {len(self.latents.mean)} particles, but there "
                f"are {len(particles)} in {particles.source}"
                f"{advice or '; give the run the same particles'}; if bad images are left out "
                "now, make the linear run again (train_linear), without these images; a folder "
                "that reconstruct_states made of that run fits any number of particles"
            )
            raise ConfigError(msg)
        latents = self.latents.of_particles(particles)
        if visited is not None:
            rows = visited.numpy()
            particles, latents = particles.select(rows), latents.select(rows)
        mask, path = None, RunDirectory(self.folder).linear.mask
        if path.exists():
            mask = read_mask(path, particles.box_size, particles.require_pixel_size())
        prepared = prepare_states(
            data,
            particles,
            latents,
            self.settings,
            device,
            storage=storage,
            mask=mask,
            model=self.functions,
            team=team,
        )
        model = prepared.states.image_model().model
        model.get_buffer("volumes").mul_(prepared.norm[1])
        logger.info(
            "the network begins with %s of the latent of %s, whose volumes are regressed on "
            "the images of %d particles",
            counted(model.config.num_functions, "function"),
            self.folder,
            len(particles),
        )
        return model

    def _embedding(self) -> Embedding | None:
        model = self.embedding
        if model is None:
            return None
        # Optics that share a spectrum have it several times.
        spectra = model.get_buffer("noise").unique(dim=0)
        if len(spectra) > 1:
            logger.info(
                "latents are told with the mean noise of %d optics groups", len(spectra)
            )
        return Embedding(
            volumes=model.get_buffer("volumes"),
            noise=spectra.mean(0),
        )


def _model_of(run: RunDirectory) -> tuple[TrainedModel, dict[str, Any]]:
    """The model of a run, and what its config records of the run itself."""
    settings = load_run_config(find_run_config(run.weights()))
    return TrainedModel.load(run.weights(), settings), settings.get("training", {})


def _embedding_of(latents: str | None) -> tuple[BasisModel | None, dict[str, Any]]:
    """The linear model of whose latents states were made, if it is there, and its record."""
    if latents is None:
        return None, {}
    try:
        trained, recorded = _model_of(RunDirectory(Path(latents).parent))
    except CryodrgnError:
        return None, {}
    model = sum_of_volumes(trained.model.decoder)
    return (model if model is not None and model.config.num_groups else None), recorded
