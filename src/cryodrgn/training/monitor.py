"""Held-out evaluation after every epoch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.models.model import Model
from cryodrgn.models.protocols import VolumeModel
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.copies import first_rows, mean_of_copies
from cryodrgn.reconstruction.decode import VolumeDecoder
from cryodrgn.reconstruction.encode import encode_rows
from cryodrgn.training.convergence import (
    EPOCHS_COMPARED,
    WORTHWHILE_LATENTS,
    WORTHWHILE_MAP,
    HalfImageExchangeTest,
    compare_exchanged,
    exchange_errors,
    gains_over_exchange,
    still_improves,
)
from cryodrgn.training.epoch_records import EpochRecord, verdict_of
from cryodrgn.training.held_out import (
    half_errors,
    image_powers,
    shell_errors,
    state_groups,
    view_blocks,
)
from cryodrgn.training.likelihood_bounds import can_be_judged, compare_with_linear
from cryodrgn.training.model_choice import ModelChoice

# Particles that are trained on, from whose latents states are made.
REFERENCE_PARTICLES = 1000
# The exchange of states looks at no more particles than this, which tells enough.
MOST_EXCHANGED = 1200
# Side of the maps whose change is followed, in voxels.
MAP_BOX = 32
STREAM = 0x57A7


class HeldOutEvaluator:
    """Evaluation of held-out particles after every epoch.

    Args:
        model: What is trained: encoder and decoder, or a decoder without latent.
        particles: All images; those held out are looked at.
        directions: Viewing direction of every particle.
        numbers: Number of the different particle that every row shows.
        seed: Of the particles from which states are made.
        dtype: Number type of the networks' matrix products.
        team: Processes that share the work.
    """

    def __init__(
        self,
        model: Model,
        particles: TrainingSet,
        directions: Float[np.ndarray, "particles 3"],
        numbers: Int[np.ndarray, " particles"],
        seed: int,
        dtype: torch.dtype = torch.float32,
        team: Team = ALONE,
    ) -> None:
        self._model, self._particles = model, particles
        self._dtype, self._team, self._seed = dtype, team, seed
        self._rows = particles.held_out
        self._numbers = numbers[self._rows.numpy()]
        order = torch.randperm(len(particles), generator=generator_at(seed, (STREAM,)))
        self._reference = particles.visited(order)[:REFERENCE_PARTICLES].sort().values
        # Copies of a particle share its noise, so one row of each particle is asked.
        judges = torch.from_numpy(first_rows(self._numbers))[:MOST_EXCHANGED]
        views = torch.from_numpy(np.ascontiguousarray(directions))[self._rows][judges]
        self._blocks = judges[view_blocks(views)]
        self._records: list[EpochRecord] = []
        self._errors: list[Float[np.ndarray, " particles"]] = []
        self._gains: list[Float[np.ndarray, " images"]] = []
        self._groups: Int[Tensor, "states particles"] | None = None
        self._maps: Float[Tensor, "states box box box"] | None = None

    @property
    def epochs_converged(self) -> int:
        """Epochs since training has converged, that one included; 0 if it has not."""
        return sum(record.converged for record in self._records)

    @property
    def verdict(self) -> str:
        """The state of the run in words."""
        return verdict_of(self._records)

    @torch.inference_mode()
    def look(self, epoch: int, *, may_converge: bool = True) -> EpochRecord:
        """Look at the particles kept out after an epoch, and remember what was found.

        Args:
            epoch: Its number.
            may_converge: Whether training can have converged, for all that is known beside.
        """
        was_training = self._model.training
        self._model.eval()
        latents = self._latents(self._rows)
        powers = self._by_all(lambda rows: image_powers(self._particles, rows), self._rows)
        table = self._by_all(
            lambda rows: shell_errors(
                self._decoder,
                latents[torch.searchsorted(self._rows, rows)],
                self._particles,
                rows,
                self._dtype,
            ),
            self._rows,
        )
        counts = torch.bincount(self._particles.shells.cpu()).clamp_min(1)
        shells = table.mean(0) / counts
        errors, power = table.sum(1), float(powers.mean())
        apart = mean_of_copies(errors.numpy(), self._numbers)
        self._errors = [*self._errors, apart][-2 * EPOCHS_COMPARED :]
        explained = power - float(errors.mean())
        reference = self._latents(self._reference)
        exchange = self._exchange(reference, shells)
        record = EpochRecord(
            epoch=epoch,
            error=float(errors.mean() / counts.sum()),
            explained=explained / power,
            map_change=self._map_change(reference),
            exchange=exchange,
            shells=tuple(shells.tolist()),
            converged=self.epochs_converged > 0
            or (may_converge and not self._improves(explained, exchange)),
        )
        self._records.append(record)
        self._model.train(was_training)
        return record

    @property
    def records(self) -> tuple[EpochRecord, ...]:
        """Evaluations of the held-out particles, one for every epoch so far."""
        return tuple(self._records)

    def choice(self) -> ModelChoice | None:
        """The better one of the linear model and its sum with the network; None for others."""
        if not can_be_judged(self._model):
            return None
        found = compare_with_linear(
            self._model,
            self._particles,
            self._rows,
            self._numbers,
            seed=self._seed,
            dtype=self._dtype,
            team=self._team,
        )
        return replace(found, num_epochs=len(self._records))

    def state_dict(self) -> dict[str, Any]:
        """Everything that must be remembered to go on exactly."""
        return {
            "records": [record.state() for record in self._records],
            "errors": [torch.from_numpy(values) for values in self._errors],
            "gains": [torch.from_numpy(values) for values in self._gains],
            "groups": self._groups,
            "maps": self._maps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a remembered state."""
        self._records = [EpochRecord.from_state(record) for record in state["records"]]
        count = len(first_rows(self._numbers))
        # Runs of expanded sets once remembered rows in place of particles: compared anew.
        self._errors = [values.numpy() for values in state["errors"] if len(values) == count]
        count = self._blocks.numel()
        self._gains = [values.numpy() for values in state["gains"] if len(values) == count]
        self._groups, self._maps = state["groups"], state["maps"]

    @property
    def _decoder(self) -> VolumeModel:
        return self._model.decoder

    def _by_all(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Results of a function of rows, of which each process computes its share."""
        return self._team.gather(function(self._team.piece(rows))).cpu().double()

    def _latents(self, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows z"]:
        model = self._model
        if not model.has_encoder:
            return torch.zeros(len(rows), 0, device=self._particles.device)
        mine = encode_rows(model, self._particles, self._team.piece(rows), self._dtype)
        return self._team.gather(mine)

    def _exchange(
        self, reference: Float[Tensor, "particles z"], noise: Float[Tensor, " shells"]
    ) -> HalfImageExchangeTest | None:
        """Half-image exchange test on the held-out particles."""
        if not (reference.shape[1] and self._blocks.numel()):
            return None
        states = _means(reference, state_groups(reference))
        rows, places = self._rows[self._blocks.flatten()].unique(return_inverse=True)
        found = self._by_all(
            lambda part: half_errors(
                self._decoder,
                states,
                self._particles,
                part,
                noise.float().to(states.device),
                self._dtype,
            ),
            rows,
        )
        halves = found.permute(1, 0, 2).numpy()
        errors = exchange_errors(halves, places.view_as(self._blocks).numpy())
        # The blocks are those of every epoch, so that gains are compared image by image.
        gains = gains_over_exchange(errors).flatten()
        self._gains = [*self._gains, gains][-2 * EPOCHS_COMPARED :]
        return compare_exchanged(errors)

    def _improves(self, explained: float, exchange: HalfImageExchangeTest | None) -> bool:
        if still_improves(self._errors, explained, WORTHWHILE_MAP):
            return True
        if exchange is None:
            return False
        if exchange.is_suspected and not exchange.is_heterogeneous:
            # A latent that begins to follow structure needs more epochs to show it.
            return True
        losses = [-gains for gains in self._gains]
        return still_improves(losses, exchange.gain, WORTHWHILE_LATENTS)

    def _map_change(self, reference: Float[Tensor, "particles z"]) -> float | None:
        """Change of the maps of the same groups of particles since the epoch before."""
        change = None
        if self._maps is not None:
            maps = self._decoded(reference, self._groups)
            change = float((maps - self._maps).norm() / maps.norm().clamp_min(1e-30))
        has_latents = reference.shape[1] > 0
        self._groups = state_groups(reference) if has_latents else None
        self._maps = self._decoded(reference, self._groups)
        return change

    def _decoded(
        self, reference: Float[Tensor, "particles z"], groups: Int[Tensor, "states m"] | None
    ) -> Float[Tensor, "states box box box"]:
        points = reference[:1] if groups is None else _means(reference, groups)
        source = VolumeDecoder(self._decoder, 0.0, 1.0, self._particles.device, self._dtype)
        size = min(MAP_BOX, self._decoder.box_size)
        return torch.stack(list(source.volumes(points, size)))


def _means(
    latents: Float[Tensor, "particles z"], groups: Int[Tensor, "states members"]
) -> Float[Tensor, "states z"]:
    return latents[groups.to(latents.device)].mean(1)
