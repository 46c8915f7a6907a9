"""Particles in tomograms as RELION 5 and WARP write them, made with gemmi and numpy alone.

Rotations are products of turns by Rodrigues' formula, and nothing is shared with the readers.
"""

from dataclasses import dataclass
from pathlib import Path

import gemmi
import mrcfile
import numpy as np

BOX, PIXEL_SIZE, TILT_PIXEL_SIZE = 16, 4.0, 2.0
# Dose-symmetric, a group of two on either side; not in the order of angles.
ANGLES = np.array([0, 3, 6, -3, -6, 9, 12, -9, -12, 15, 18, -15, -18], dtype=float)
DOSE = 3.0
HANDS = {"TS_01": -1.0, "TS_02": 1.0}
# Of a tomogram, in pixels of the tilt series.
SIZE_OF_WARP = np.array([480, 500, 460])
COLUMNS_OF_M = [f"wrpCoordinate{axis}1" for axis in "XYZ"]
COLUMNS_OF_M += ["wrpAngleRot1", "wrpAngleTilt1", "wrpAnglePsi1", "wrpRandomSubset"]
COLUMNS_OF_M += ["wrpSourceName", "wrpSourceHash"]
HASHES = {"TS_01": "daeLrChteH23tsdYwH2geZt8vUE", "TS_02": "pX3yHk0Zt1W5m8QfL2rJc6Vn9sA"}


def turn(axis, degrees):
    """The right-handed rotation about an axis (0 for x)."""
    unit = np.eye(3)[axis]
    cross = np.cross(unit, np.eye(3)).T
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def euler_matrix(rot, tilt, psi):
    """Matrix from the volume to the image: Z(−psi) Y(−tilt) Z(−rot), turns of vectors."""
    return turn(2, -psi) @ turn(1, -tilt) @ turn(2, -rot)


def euler_angles(matrix):
    """Angles rot, tilt, psi of such a matrix."""
    tilt = np.degrees(np.arccos(matrix[2, 2].clip(-1, 1)))
    rot = np.degrees(np.arctan2(matrix[2, 1], matrix[2, 0]))
    psi = np.degrees(np.arctan2(matrix[1, 2], -matrix[0, 2]))
    return rot, tilt, psi


@dataclass
class Particle:
    """A particle: place in Å from the middle of its tomogram, and orientation."""

    name: str
    tomogram: str
    coordinate: np.ndarray
    origin: np.ndarray
    subtomogram: np.ndarray
    angles: np.ndarray
    visible: np.ndarray


@dataclass
class Image:
    """A tilt image of a particle, worked out from the geometry of the microscope."""

    particle: Particle
    tilt: int
    frame: int
    rotation: np.ndarray
    shift: np.ndarray
    defocus: tuple[float, float, float]
    dose: float
    scale: float
    stack: str


@dataclass
class Project:
    """Two tomograms of opposite hand, their tilts, and particles in both."""

    particles: list[Particle]
    tilts: dict[str, dict[str, np.ndarray]]

    @classmethod
    def random(cls, rng, count=6, missing=0.05):
        """A project of some particles, a few tilts of which are missing."""
        tilts = {}
        for name in HANDS:
            tilts[name] = {
                "x": rng.normal(0, 1, len(ANGLES)),
                "y": ANGLES + rng.normal(0, 0.1, len(ANGLES)),
                "z": 85 + rng.normal(0, 0.3, len(ANGLES)),
                "u": 25000 + rng.normal(0, 500, len(ANGLES)),
                "v": 24000 + rng.normal(0, 500, len(ANGLES)),
                "a": rng.uniform(0, 180, len(ANGLES)),
                "shift": rng.normal(0, 10, (len(ANGLES), 2)),
                "dose": DOSE * np.arange(len(ANGLES)),
            }
        particles = []
        for number in range(count):
            tomogram = list(HANDS)[number % 2]
            visible = rng.random(len(ANGLES)) >= missing
            visible[0] = True
            particles.append(
                Particle(
                    name=f"{tomogram}/{number + 1}",
                    tomogram=tomogram,
                    coordinate=rng.uniform(-900, 900, 3),
                    origin=rng.normal(0, 5, 3),
                    subtomogram=rng.uniform([-180, 0, -180], 180, 3),
                    angles=rng.uniform([-180, 0, -180], 180, 3),
                    visible=visible,
                )
            )
        return cls(particles, tilts)

    def images(self):
        """Every image there is, particle after particle, by dose."""
        found = []
        for particle in self.particles:
            tilts = self.tilts[particle.tomogram]
            box = euler_matrix(*particle.subtomogram)
            pose = box @ euler_matrix(*particle.angles)
            place = particle.coordinate - box @ particle.origin
            for frame, tilt in enumerate(np.flatnonzero(particle.visible).tolist(), 1):
                turned = (
                    turn(2, tilts["z"][tilt])
                    @ turn(1, tilts["y"][tilt])
                    @ turn(0, tilts["x"][tilt])
                )
                depth = HANDS[particle.tomogram] * (turned @ place)[2]
                found.append(
                    Image(
                        particle=particle,
                        tilt=tilt,
                        frame=frame,
                        rotation=turned @ pose,
                        # What moves the particle to the middle, where the coordinate is now.
                        shift=(turned @ (particle.coordinate - place))[:2],
                        defocus=(
                            tilts["u"][tilt] + depth,
                            tilts["v"][tilt] + depth,
                            tilts["a"][tilt],
                        ),
                        dose=tilts["dose"][tilt],
                        scale=np.cos(np.deg2rad(tilts["y"][tilt])),
                        stack=f"Subtomograms/{particle.name}_stack2d.mrcs",
                    )
                )
        return found


OPTICS = {
    "rlnOpticsGroup": [1],
    "rlnOpticsGroupName": ["opticsGroup1"],
    "rlnVoltage": [300.0],
    "rlnSphericalAberration": [2.7],
    "rlnAmplitudeContrast": [0.07],
    "rlnImagePixelSize": [PIXEL_SIZE],
    "rlnImageSize": [BOX],
}


def write(path: Path, blocks):
    """Tables as a STAR file, by gemmi."""
    document = gemmi.cif.Document()
    for name, columns in blocks.items():
        block = document.add_new_block(name)
        loop = block.init_loop("_", list(columns))
        for row in zip(*columns.values(), strict=True):
            loop.add_row([f"{v:.9f}" if isinstance(v, float) else str(v) for v in row])
    path.parent.mkdir(parents=True, exist_ok=True)
    document.write_file(str(path))
    return path


def write_relion5(project: Project, folder: Path, order=None, name="particles") -> Path:
    """A job of RELION 5; returns its optimisation set."""
    rows = project.particles if order is None else [project.particles[i] for i in order]
    columns = {
        "rlnTomoName": [p.tomogram for p in rows],
        "rlnTomoParticleName": [p.name for p in rows],
        "rlnOpticsGroup": [1] * len(rows),
        "rlnImageName": [f"Subtomograms/{p.name}_stack2d.mrcs" for p in rows],
        "rlnTomoVisibleFrames": [
            "[" + ",".join(str(int(v)) for v in p.visible) + "]" for p in rows
        ],
    }
    for axis, letter in enumerate("XYZ"):
        columns[f"rlnCenteredCoordinate{letter}Angst"] = [
            float(p.coordinate[axis]) for p in rows
        ]
        columns[f"rlnOrigin{letter}Angst"] = [float(p.origin[axis]) for p in rows]
    for place, word in enumerate(("Rot", "Tilt", "Psi")):
        columns[f"rlnTomoSubtomogram{word}"] = [float(p.subtomogram[place]) for p in rows]
        columns[f"rlnAngle{word}"] = [float(p.angles[place]) for p in rows]
    tomographic = {
        "rlnTomoTiltSeriesPixelSize": [TILT_PIXEL_SIZE],
        "rlnImageDimensionality": [2],
        "rlnTomoSubTomosAre2DStacks": [1],
    }
    write(
        folder / f"{name}.star",
        {
            "general": {"rlnTomoSubTomosAre2DStacks": [1]},
            "optics": OPTICS | tomographic,
            "particles": columns,
        },
    )
    write(
        folder / "tomograms.star",
        {
            "global": {
                "rlnTomoName": list(HANDS),
                "rlnTomoTiltSeriesStarFile": [
                    f"tilt_series/{tomogram}.star" for tomogram in HANDS
                ],
                "rlnTomoTiltSeriesPixelSize": [TILT_PIXEL_SIZE] * len(HANDS),
                "rlnTomoHand": list(HANDS.values()),
            }
        },
    )
    for tomogram, tilts in project.tilts.items():
        table = {
            "rlnMicrographName": [f"{tomogram}_{i:03d}.mrc" for i in range(len(ANGLES))],
            "rlnTomoXTilt": tilts["x"].tolist(),
            "rlnTomoYTilt": tilts["y"].tolist(),
            "rlnTomoZRot": tilts["z"].tolist(),
            "rlnTomoXShiftAngst": tilts["shift"][:, 0].tolist(),
            "rlnTomoYShiftAngst": tilts["shift"][:, 1].tolist(),
            "rlnDefocusU": tilts["u"].tolist(),
            "rlnDefocusV": tilts["v"].tolist(),
            "rlnDefocusAngle": tilts["a"].tolist(),
            "rlnMicrographPreExposure": tilts["dose"].tolist(),
        }
        write(folder / "tilt_series" / f"{tomogram}.star", {tomogram: table})
    return write(
        folder / "optimisation_set.star",
        {
            "optimisation_set": {
                "rlnTomoParticlesFile": [f"{name}.star"],
                "rlnTomoTomogramsFile": ["tomograms.star"],
            }
        },
    )


def write_warp2(project: Project, folder: Path, order=None) -> Path:
    """Particles that WarpTools and M export as 2-D stacks; returns their optimisation set.

    Tilts are matrices in the list of tomograms, and coordinates are pixels from their corners.
    """
    size = SIZE_OF_WARP
    rows = project.particles if order is None else [project.particles[i] for i in order]
    columns = {
        "rlnTomoName": [f"{p.tomogram}.tomostar" for p in rows],
        "rlnTomoParticleId": [int(p.name.partition("/")[2]) for p in rows],
        "rlnTomoParticleName": [p.name for p in rows],
        "rlnOpticsGroup": [1] * len(rows),
        "rlnImageName": [f"Subtomograms/{p.name}_stack2d.mrcs" for p in rows],
        "rlnTomoVisibleFrames": [
            "[" + ",".join(str(int(v)) for v in p.visible) + "]" for p in rows
        ],
    }
    places = np.array([p.coordinate for p in rows]) / TILT_PIXEL_SIZE + size / 2
    for axis, letter in enumerate("XYZ"):
        columns[f"rlnCoordinate{letter}"] = places[:, axis].tolist()
        columns[f"rlnOrigin{letter}Angst"] = [float(p.origin[axis]) for p in rows]
    for place, word in enumerate(("Rot", "Tilt", "Psi")):
        columns[f"rlnTomoSubtomogram{word}"] = [float(p.subtomogram[place]) for p in rows]
        columns[f"rlnAngle{word}"] = [float(p.angles[place]) for p in rows]
    stacks = {
        "rlnTomoTiltSeriesPixelSize": [TILT_PIXEL_SIZE],
        "rlnCtfDataAreCtfPremultiplied": [1],
        "rlnImageDimensionality": [2],
        "rlnTomoSubtomogramBinning": [PIXEL_SIZE / TILT_PIXEL_SIZE],
    }
    blocks = {"general": {"rlnTomoSubTomosAre2DStacks": [1]}, "optics": OPTICS | stacks}
    write(folder / "matching.star", blocks | {"particles": columns})
    names = [f"{tomogram}.tomostar" for tomogram in HANDS]
    listed = {
        "rlnTomoName": names,
        "rlnTomoTiltSeriesName": ["dummy_tiltseries.mrc"] * len(names),
        "rlnTomoFrameCount": [len(ANGLES)] * len(names),
        **{f"rlnTomoSize{axis}": [int(n)] * 2 for axis, n in zip("XYZ", size, strict=True)},
        "rlnTomoHand": list(HANDS.values()),
        "rlnTomoTiltSeriesPixelSize": [TILT_PIXEL_SIZE] * len(names),
    }
    tables = {
        f"{name}.tomostar": tilts_of_relion4(t, projections(t, size[:2], size / 2))
        for name, t in project.tilts.items()
    }
    write(folder / "matching_tomograms.star", {"global": listed, **tables})
    named = {
        "rlnTomoParticlesFile": ["matching.star"],
        "rlnTomoTomogramsFile": ["matching_tomograms.star"],
    }
    return write(folder / "matching_optimisation_set.star", {"optimisation_set": named})


def row_of_m(particle, moved=0.0):
    """A line of the list of a species."""
    shift = euler_matrix(*particle.subtomogram) @ particle.origin
    place = particle.coordinate - shift + SIZE_OF_WARP / 2 * TILT_PIXEL_SIZE + moved
    numbers = "  ".join(f"{value:10.5f}" for value in [*place, 12.5, 90.0, -143.46941])
    name = particle.tomogram
    return f"  {numbers}  {1 + int(place[0]) % 2}  {name}.tomostar  {HASHES[name]}\n"


def write_list_of_m(path, particles, columns=COLUMNS_OF_M, moved=0.0):
    """The list of a species in M; returns the names of its columns, and its rows."""
    names = "".join(f"_{name} #{number}\n" for number, name in enumerate(columns, 1))
    rows = [row_of_m(particle, moved) for particle in particles]
    path.write_text(f"\ndata_\n\nloop_\n{names}{''.join(rows)}\n")
    return names, rows


def write_relion4(project: Project, folder: Path, size=(160, 140), depth=100) -> Path:
    """A project of RELION 4 with its tilt series; returns the particles.

    Every particle is one bright pixel of each tilt image, the one nearest to it.
    """
    corner, tables = np.array([*size, depth]) / 2, {}
    for tomogram, tilts in project.tilts.items():
        matrices = projections(tilts, size, corner)
        tables[tomogram] = tilts_of_relion4(tilts, matrices)
        own = [p for p in project.particles if p.tomogram == tomogram]
        write_tilt_series(folder / f"{tomogram}.mrc", own, matrices, size, corner)
    listed = {
        "rlnTomoName": list(HANDS),
        "rlnTomoTiltSeriesName": [f"{tomogram}.mrc:mrc" for tomogram in HANDS],
        "rlnTomoFrameCount": [len(ANGLES)] * len(HANDS),
        "rlnTomoSizeX": [size[0]] * len(HANDS),
        "rlnTomoSizeY": [size[1]] * len(HANDS),
        "rlnTomoSizeZ": [depth] * len(HANDS),
        "rlnTomoHand": list(HANDS.values()),
        "rlnTomoTiltSeriesPixelSize": [TILT_PIXEL_SIZE] * len(HANDS),
        "rlnAmplitudeContrast": [0.07] * len(HANDS),
    }
    write(folder / "tomograms.star", {"global": listed, **tables})
    optics = {name: values for name, values in OPTICS.items() if name != "rlnAmplitudeContrast"}
    optics |= {"rlnImageDimensionality": [3], "rlnTomoSubtomogramBinning": [2.0]}
    optics |= {"rlnCtfDataAreCtfPremultiplied": [1]}
    blocks = {"optics": optics, "particles": particles_of_relion4(project.particles, corner)}
    return write(folder / "particles.star", blocks)


def projections(tilts, size, corner):
    """Rows X, Y, Z of the matrix of every tilt, from places in the tomogram to the image."""
    found = []
    for x, y, z, shift in zip(*(tilts[n] for n in ("x", "y", "z", "shift")), strict=True):
        turned = turn(2, z) @ turn(1, y) @ turn(0, x)
        middle = np.array([*(np.array(size) / 2 + shift / TILT_PIXEL_SIZE), 7.0])
        found.append(np.column_stack([turned, middle - turned @ corner]))
    return found


def tilts_of_relion4(tilts, matrices):
    """The table of a tomogram."""
    table = {
        f"rlnTomoProj{axis}": [
            "[" + ",".join(f"{v:.12g}" for v in matrix[row]) + "]" for matrix in matrices
        ]
        for row, axis in enumerate("XYZ")
    }
    table["rlnTomoProjW"] = ["[0,0,0,1]"] * len(matrices)
    for name, key in (("U", "u"), ("V", "v"), ("Angle", "a")):
        table[f"rlnDefocus{name}"] = tilts[key].tolist()
    table["rlnMicrographPreExposure"] = tilts["dose"].tolist()
    table["rlnCtfScalefactor"] = np.cos(np.deg2rad(tilts["y"])).tolist()
    return table


def write_tilt_series(path, particles, matrices, size, corner):
    """Noisy tilt images with a bright pixel where a particle is."""
    shape = (len(matrices), size[1], size[0])
    pictures = np.random.default_rng(1).normal(5, 2, shape).astype(np.float32)
    for tilt, matrix in enumerate(matrices):
        for particle in particles:
            x, y = np.rint(place_in_tilt(particle, matrix, corner)).astype(int)
            if 0 <= x < size[0] and 0 <= y < size[1]:
                pictures[tilt, y, x] = 100
    with mrcfile.new(path, data=pictures, overwrite=True) as file:
        file.voxel_size = TILT_PIXEL_SIZE


def particles_of_relion4(particles, corner):
    """Columns of a list of particles."""
    columns = {
        "rlnTomoName": [p.tomogram for p in particles],
        "rlnTomoParticleName": [p.name for p in particles],
        "rlnOpticsGroup": [1] * len(particles),
        "rlnImageName": [f"PseudoSubtomo/{p.name}_data.mrc" for p in particles],
    }
    places = np.array([p.coordinate for p in particles]) / TILT_PIXEL_SIZE + corner
    for axis, letter in enumerate("XYZ"):
        columns[f"rlnCoordinate{letter}"] = places[:, axis].tolist()
        columns[f"rlnOrigin{letter}Angst"] = [float(p.origin[axis]) for p in particles]
    for place, word in enumerate(("Rot", "Tilt", "Psi")):
        columns[f"rlnTomoSubtomogram{word}"] = [float(p.subtomogram[place]) for p in particles]
        columns[f"rlnAngle{word}"] = [float(p.angles[place]) for p in particles]
    return columns


def place_in_tilt(particle: Particle, matrix, corner):
    """Where a particle is in a tilt image, in pixels."""
    box = euler_matrix(*particle.subtomogram)
    inside = (particle.coordinate - box @ particle.origin) / TILT_PIXEL_SIZE + corner
    return (matrix @ [*inside, 1.0])[:2]


def write_warp(project: Project, path: Path, order=None) -> Path:
    """The 2-D particle series of WARP and M: a row for every image."""
    images = project.images()
    rows = images if order is None else [images[i] for i in order]
    angles = [euler_angles(image.rotation) for image in rows]
    columns = {
        "rlnImageName": [f"{image.frame:06d}@{image.stack}" for image in rows],
        "rlnMicrographName": [f"{image.particle.tomogram}.tomostar" for image in rows],
        "rlnGroupName": [image.particle.name for image in rows],
        "rlnOpticsGroup": [1] * len(rows),
        "rlnCtfScalefactor": [float(image.scale) for image in rows],
        "rlnCtfBfactor": [-4 * float(image.dose) for image in rows],
        "rlnOriginXAngst": [float(image.shift[0]) for image in rows],
        "rlnOriginYAngst": [float(image.shift[1]) for image in rows],
    }
    for place, word in enumerate(("Rot", "Tilt", "Psi")):
        columns[f"rlnAngle{word}"] = [float(a[place]) for a in angles]
    for place, word in enumerate(("U", "V", "Angle")):
        columns[f"rlnDefocus{word}"] = [float(image.defocus[place]) for image in rows]
    return write(path, {"optics": OPTICS, "particles": columns})
