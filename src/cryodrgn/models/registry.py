"""Decoders and encoders by name: those of this package, and those that other packages install.

A package adds a decoder with an entry point in the group ``cryodrgn.decoders`` (encoders:
``cryodrgn.encoders``) whose name is that of the decoder and whose value its class, derived from
:class:`cryodrgn.models.protocols.VolumeModel` (:class:`cryodrgn.models.protocols.Encoder`).
Its package is imported only when a name that is not built in is asked for. A name of this
package always means the model of this package.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cryodrgn.errors import ConfigError
from cryodrgn.models.basis import BasisModel
from cryodrgn.models.decoders import Decoder
from cryodrgn.models.encoders import ConvEncoder, MlpEncoder, TiltEncoder
from cryodrgn.models.linear_encoder import LinearEncoder
from cryodrgn.models.linear_network import LinearNetwork
from cryodrgn.models.protocols import Encoder, VolumeModel
from cryodrgn.models.tilt_encoders import SubtomogramEncoder, TiltSeriesEncoder

M = TypeVar("M", VolumeModel, Encoder)


class Registry(Generic[M]):
    """Classes of models by name.

    Args:
        base: Class from which all are derived.
        word: Word for one of them, for messages.
        group: Group of entry points of those of other packages.
        built_in: Those of this package.
    """

    def __init__(
        self, base: type[M], word: str, group: str, built_in: Mapping[str, type[M]]
    ) -> None:
        self._base, self._word, self._group = base, word, group
        self._built_in = dict(built_in)

    def names(self) -> list[str]:
        """All names that are known: built in, then installed; imports nothing."""
        installed = {entry.name for entry in entry_points(group=self._group)}
        return [*self._built_in, *sorted(installed - self._built_in.keys())]

    def find(self, name: str) -> type[M]:
        """The class that has a name.

        Raises:
            ConfigError: None has it, several packages claim it, or what a package installs
                under it is no such class.
        """
        if name in self._built_in:
            return self._built_in[name]
        found = list(entry_points(group=self._group, name=name))
        if not found:
            msg = f"there is no {self._word} {name!r}; known are {', '.join(self.names())}"
            raise ConfigError(msg)
        values = sorted({entry.value for entry in found})
        if len(values) > 1:
            msg = (
                f"the {self._word} {name!r} is installed more than once ({', '.join(values)}); "
                "uninstall all packages but one of them"
            )
            raise ConfigError(msg)
        return self._checked(name, found[0])

    def read(self, name: str, values: Mapping[str, Any]) -> Any:
        """Settings of a model from plain values by the names of their fields.

        Raises:
            ConfigError: There is no such model, or its settings are other ones.
        """
        kind = self.find(name).settings_type
        hints = get_type_hints(kind)
        known = [field.name for field in fields(kind) if field.init]
        for key, value in values.items():
            if key not in known:
                msg = (
                    f"the {self._word} {name!r} has no setting {key!r}; it has "
                    f"{', '.join(known) or 'none'}"
                )
                raise ConfigError(msg)
            if not _fits(value, hints[key]):
                shown = getattr(hints[key], "__name__", str(hints[key]))
                msg = f"{key} of the {self._word} {name!r} is {value!r}, expected {shown}"
                raise ConfigError(msg)
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:
            msg = f"the settings of the {self._word} {name!r} cannot be used: {error}"
            raise ConfigError(msg) from error

    def parse(self, text: str) -> Any:
        """Settings written as ``NAME`` or ``NAME:SETTING=VALUE,SETTING=VALUE``.

        Raises:
            ConfigError: The text is of another form, or names no model or setting.
        """
        name, _, rest = text.partition(":")
        hints = get_type_hints(self.find(name).settings_type)
        values: dict[str, Any] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not (key and equals):
                msg = f"{text!r} names a {self._word} as NAME:SETTING=VALUE,…; got {part!r}"
                raise ConfigError(msg)
            plain = _plain_value(value)
            hint = hints.get(key)
            values[key] = value if not _fits(plain, hint) and _fits(value, hint) else plain
        return self.read(name, values)

    def _checked(self, name: str, entry: EntryPoint) -> type[M]:
        try:
            found = entry.load()
        except (ImportError, AttributeError) as error:
            msg = f"the {self._word} {name!r} ({entry.value}) cannot be imported: {error}"
            raise ConfigError(msg) from error
        if not (isinstance(found, type) and issubclass(found, self._base)):
            msg = f"{entry.value}, installed as {self._word} {name!r}, is no {self._word}"
            raise ConfigError(msg)
        settings = getattr(found, "settings_type", None)
        if not (is_dataclass(settings) and getattr(settings, "name", None) == name):
            msg = (
                f"{entry.value}, installed as {self._word} {name!r}, has no settings_type that "
                f"is a dataclass with the attribute name = {name!r}"
            )
            raise ConfigError(msg)
        return found


def _plain_value(text: str) -> Any:
    """The number or word that a text stands for, or the text itself."""
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _fits(value: Any, hint: Any) -> bool:
    """True if a plain value is of an annotated type, as far as that can be told."""
    if hint is Any or hint is None:
        return hint is Any or value is None
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    plain = origin or hint
    return isinstance(value, plain) if isinstance(plain, type) else True


DECODERS: Registry[VolumeModel] = Registry(
    VolumeModel,
    "decoder",
    "cryodrgn.decoders",
    {"perceptron": Decoder, "sum_of_volumes": BasisModel, "linear+network": LinearNetwork},
)
ENCODERS: Registry[Encoder] = Registry(
    Encoder,
    "encoder",
    "cryodrgn.encoders",
    {
        "resid": MlpEncoder,
        "mlp": MlpEncoder,
        "conv": ConvEncoder,
        "tilt": TiltEncoder,
        "tilt_series": TiltSeriesEncoder,
        "subtomogram": SubtomogramEncoder,
        "linear+resid": LinearEncoder,
    },
)


def sum_of_volumes(decoder: VolumeModel) -> BasisModel | None:
    """The decoder as a sum of volumes, whose latents are regressed; None if it is none."""
    return decoder if isinstance(decoder, BasisModel) else None
