"""Computing time of a training step, measured on the device that will take it.

A moment of the real decoder, forward and backward, in the number type of the run: on a
processor what one thread does of a batch at a time, elsewhere a batch. Nothing is fitted; what
a step spends beside its decoder is taken in proportion to the operations of its products.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from cryodrgn.devices import may_wait, operations_per_second, synchronize
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.likelihood import reconstruction_loss
from cryodrgn.models.build import build_model, decoder_sizes, encoder_sizes
from cryodrgn.models.settings import ModelConfig
from cryodrgn.processors import useful_threads
from cryodrgn.progress import format_duration
from cryodrgn.threads import torch_threads
from cryodrgn.training.objectives import ROWS_IN_CACHE

logger = logging.getLogger(__name__)

# Measured at least so long, and so often, of which the shortest counts.
SECONDS, TIMES = 0.05, 2
# Floating point operations of a pass that is measured, by the kind of device.
MEASURED_OPERATIONS = {"cpu": 1e9}
MEASURED_ON_CARDS = 4e12
FEWEST_ROWS = 128
# Of products forward, for weights and for the input of a layer, each a multiply and an add.
OPERATIONS = 6


def operations_per_particle(model: ModelConfig, images_per_particle: float = 1.0) -> float:
    """Floating point operations of the matrix products of a training step, per particle.

    The first layers need no gradients of their input.
    """
    points = len(HalfPlaneFrequencies.disc(model.box_size)) * images_per_particle
    decoder, encoder = decoder_sizes(model), encoder_sizes(model)
    rest = decoder.multiply_adds - decoder.shared_multiply_adds
    decoded = 4 * decoder.shared_multiply_adds + OPERATIONS * rest
    return points * decoded + 4 * encoder.multiply_adds


def seconds_per_particle(
    model: ModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
    images_per_particle: float = 1.0,
    *,
    is_trained: bool = True,
) -> float:
    """Seconds of training, or of evaluation, per particle, as a moment of it says.

    Args:
        model: The model.
        device: Where.
        dtype: Number type of the matrix products.
        batch_size: Particles of a batch.
        images_per_particle: Number of images of each, on average.
        is_trained: Whether gradients are taken.
    """
    points = len(HalfPlaneFrequencies.disc(model.box_size))
    multiply_adds = max(decoder_sizes(model).multiply_adds, 1.0)
    is_processor = device.type == "cpu"
    most = MEASURED_OPERATIONS.get(device.type, MEASURED_ON_CARDS)
    rows = ROWS_IN_CACHE if is_processor else round(batch_size * images_per_particle) * points
    rows = max(FEWEST_ROWS, min(rows, int(most / (OPERATIONS * multiply_adds))))
    seconds, rows = _measured(model, device, dtype, rows, is_trained)
    if is_processor:
        seconds /= useful_threads()
    decoded = decoder_sizes(model).multiply_adds * points * images_per_particle
    beside = encoder_sizes(model).multiply_adds / max(decoded, 1.0)
    return seconds / rows * points * images_per_particle * (1 + beside)


def _measured(
    model: ModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    is_trained: bool,  # noqa: FBT001 (passed on)
) -> tuple[float, int]:
    """Seconds of a pass, and for how many rows: as many as wanted, or as memory holds."""
    while True:
        try:
            return shortest_time(_step(model, device, dtype, rows, is_trained), device), rows
        except torch.OutOfMemoryError:
            if rows <= FEWEST_ROWS:
                raise
            rows = max(FEWEST_ROWS, rows // 4)
        finally:
            # What is measured must leave room for what is trained.
            if device.type == "cuda":
                torch.cuda.empty_cache()


def _step(
    model: ModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    is_trained: bool,  # noqa: FBT001 (passed on)
) -> Callable[[], object]:
    """A pass through the decoder and, in training, back, at so many points of one image."""
    # The encoder is a small part of the work, and most of the weights.
    decoder = build_model(replace(model, encoder=None)).decoder.to(device)
    weights = [weight for weight in decoder.parameters() if weight.requires_grad]
    weights = weights if is_trained else []
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(1, rows, 3, generator=generator) - 0.5) / math.sqrt(3)
    latent = torch.randn(1, model.latent_dim, generator=generator)
    points, latent = points.to(device), latent.to(device)
    images, transfer = torch.zeros(1, rows, 2).to(device), torch.ones(1, rows).to(device)

    def step() -> object:
        with torch.set_grad_enabled(is_trained):
            loss = reconstruction_loss(decoder(points, latent, dtype), images, transfer)
        return torch.autograd.grad(loss, weights, allow_unused=True) if weights else loss

    return step


def shortest_time(step: Callable[[], object], device: torch.device) -> float:
    """The shortest of several durations.

    On a processor it is the time that this thread had: what others take of a busy machine for
    a moment says nothing of the work.
    """
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    found, begun = list[float](), time.perf_counter()
    with torch_threads(1 if device.type == "cpu" else torch.get_num_threads()):
        step()
        while len(found) < TIMES or time.perf_counter() - begun < SECONDS:
            synchronize(device)
            started = clock()
            step()
            synchronize(device)
            found.append(clock() - started)
    return min(found)


# Rows of the product that the share of a card is a share of, and steps until a run is timed,
# of which the first are left out: they compile and measure.
PRODUCT_ROWS, TIMED_STEPS, LEFT_OUT = 1 << 18, 100, 20
# Seconds below which nobody wants to know how long the rest takes.
SHORT = 60.0


class RateInWords:
    """Images per second in words, on a card with the share of what its products allow.

    Args:
        model: What is trained.
        device: Where.
        dtype: Number type of the matrix products.
        images_per_particle: Number of images of a particle, on average.
    """

    def __init__(
        self,
        model: ModelConfig,
        device: torch.device,
        dtype: torch.dtype,
        images_per_particle: float,
    ) -> None:
        self._operations = operations_per_particle(model, images_per_particle)
        self._width = getattr(model.decoder, "hidden_dim", 256)
        self._device, self._dtype = device, dtype
        self._products: float | None = None

    def __call__(self, rate: float) -> str:
        """The rate in words."""
        words = f"{rate:.3g} images/s" if rate < 1000 else f"{rate:,.0f} images/s"
        if self._device.type == "cpu":
            return words
        if self._products is None:
            self._products = self._measured_products()
        if not self._products:
            return words
        share = 100 * rate * self._operations / self._products
        return f"{words} ({share:.0f} % of what products of this shape allow)"

    def _measured_products(self) -> float:
        """Operations per second of products; 0 where training has left no memory for them."""
        with may_wait("the rate of products is measured once"):
            try:
                return operations_per_second(
                    self._device, self._dtype, rows=PRODUCT_ROWS, width=self._width
                )
            except torch.OutOfMemoryError:
                return 0.0


class FirstSteps:
    """Says once, after the first hundred steps of a run, how long the rest takes.

    Args:
        total: Images of the whole run.
        describe_rate: Images per second in words.
    """

    def __init__(self, total: int, describe_rate: Callable[[float], str]) -> None:
        self._total, self._describe = total, describe_rate
        self._steps, self._since, self._seen = 0, (0.0, 0), 0

    def count(self, images_seen: int) -> None:
        """So many images have been seen; nothing is counted where they are no more than before.

        Searches of poses, among others, report between steps that they are alive.
        """
        if images_seen == self._seen:
            return
        self._seen = images_seen
        self._steps += 1
        if self._steps == LEFT_OUT:
            self._since = time.monotonic(), images_seen
        if self._steps != TIMED_STEPS:
            return
        started, before = self._since
        rate = (images_seen - before) / max(time.monotonic() - started, 1e-9)
        left = (self._total - images_seen) / max(rate, 1e-9)
        if left > SHORT:
            words = self._describe(rate), format_duration(left)
            logger.info("after %d steps: %s; training takes %s more", TIMED_STEPS, *words)
