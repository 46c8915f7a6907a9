"""Names of the files that commands write; the only place that knows them.

Parts stand before the whole; ``docs/files.md`` is made from these declarations.
"""

from pathlib import Path

from cryodrgn.folders import EachEpoch, Folder, Named, Numbered, One


class TraversalFiles(Folder):
    """The files of traversals along principal components."""

    component = Numbered(Path, "pc#.txt", "Latents along a component, counted from 1")


class VolumeSeries(Folder):
    """Volumes at some points of a latent space, and their pictures, in one folder."""

    z_values = One(Path, "z_values.txt", "The points, one per line")
    film = One(Path, "movie.gif", "A moving picture of the volumes")
    volume = Numbered(Path, "vol_###.mrc", "One of the volumes")
    picture = Numbered(Path, "vol_###.png", "Surface, slice and projection of a volume")
    difference = Numbered(
        Path, "difference_###.png", "Difference map of the next volume and this one"
    )
    plot = Named(Path, "*.png", "A plot of where the points lie, for instance on `umap`")

    @property
    def offset(self) -> int:
        """Number of the first volume."""
        if self.first_number is not None:
            return self.first_number
        there = [(self.path / f"vol_{number:03d}.mrc").exists() for number in (0, 1)]
        return 1 if there == [False, True] else 0

    def volumes(self) -> list[Path]:
        """All volumes there are, in order."""
        return sorted(VolumeSeries.volume.existing(self))

    def numbered(self) -> dict[Path, int]:
        """Volumes and pictures that are there, with the numbers in their names."""
        entries = (entry for entry in self.files() if isinstance(entry, Numbered))
        found = [item for entry in entries for item in entry.existing(self).items()]
        return {path: number for path, number in found if number is not None}


class ClusterFiles(VolumeSeries):
    """Files of k-means clusters beside the volumes at their centres."""

    labels = One(Path, "labels.pkl", "Cluster of every particle, from 0: number of its volume")
    centres = One(Path, "centers.txt", "Latents of the particles at the centres")
    centre_particles = One(Path, "centers_ind.txt", "Numbers of those particles")
    sizes = One(Path, "particles_per_cluster.png", "Plot of the particles in every cluster")


class AnalysisFiles(Folder):
    """The files of one analysis."""

    record = One(Path, "analysis.yaml", "What was analysed, by which program, from what inputs")
    report = One(Path, "report.html", "The page to look at")
    notebook = One(Path, "cryoDRGN_viz.ipynb", "The notebook to go on with by hand")
    figures_notebook = One(Path, "cryoDRGN_figures.ipynb", "The part of it that draws figures")
    filtering_notebook = One(
        Path, "cryoDRGN_filtering.ipynb", "The part of it that selects particles"
    )
    chimerax = One(Path, "volumes.cxc", "A script that opens all volumes in ChimeraX")
    umap = One(Path, "umap.pkl", "Every particle's place on the map of the latent space")
    plot = Named(Path, "*.png", "One of the plots, for instance `z_pca_hexbin`")
    component = Numbered(
        VolumeSeries, "pc#", "Volumes along a principal component, counted from 1"
    )
    clusters = Numbered(
        ClusterFiles, "kmeans#", "Clusters, with a volume at the centre of each"
    )
    line = One(VolumeSeries, ".", "Volumes along a latent of one dimension")

    def components(self) -> list[VolumeSeries]:
        """All of those there are."""
        return [self.component(number) for number in AnalysisFiles.component.numbers(self)]


class LandscapeStates(VolumeSeries):
    """The states of a landscape, with pictures of their mean volumes."""

    @property
    def offset(self) -> int:
        """0: states are numbered as their labels are."""
        return 0

    labels = One(Path, "state_labels.pkl", "State of every volume of the sketch, from 0")
    mean = Numbered(
        Path, "state_###_mean.mrc", "Mean of the state's volumes, weighted by their particles"
    )
    deviation = Numbered(Path, "state_###_std.mrc", "Standard deviation of them")
    particles = Numbered(
        Path,
        "state_###_particle_ind.pkl",
        "The state's particles, as rows of the file that the run was given",
    )


class LandscapeFiles(Folder):
    """The files of one landscape of volumes."""

    sketch = Numbered(
        ClusterFiles, "kmeans#", "The clusters of particles whose volumes stand for all"
    )
    mean = Numbered(
        Path, "kmeans#/vol_mean.mrc", "Mean of those volumes, weighted by their particles"
    )
    sketch_record = Numbered(
        Path, "kmeans#/sketch.yaml", "Epoch, seed and orientation (flip) of those volumes"
    )
    mask = One(Path, "mask.mrc", "The voxels that are compared")
    report = One(Path, "report.html", "The page to look at")
    record = One(Path, "landscape.yaml", "Settings and inputs")
    components = One(
        Path, "vol_pca.npz", "Mean, directions and variances of the volumes' components"
    )
    components_object = One(
        Path, "vol_pca_obj.pkl", "The components as a PCA object of scikit-learn"
    )
    latent_umap = One(
        Path, "umap.pkl", "Every particle's place on the map that the analysis made"
    )
    coordinates = Numbered(
        Path, "vol_pca_#.pkl", "Coordinates of the sketch's volumes along the components"
    )
    component = Numbered(
        VolumeSeries, "vol_pcs/pc#", "Volumes along a component, counted from 1"
    )
    states = Named(
        LandscapeStates, "sketch_clustering_*", "States, for instance of `average_10`"
    )
    sampled_particles = One(
        Path, "ind.sampled.pkl", "Particles whose volumes were made to learn the mapping"
    )
    sampled_latents = One(Path, "z.sampled.pkl", "Their latents")
    sampled_coordinates = One(Path, "vol_pca_sampled.pkl", "Coordinates of their volumes")
    sampled_record = One(
        Path, "sampled.yaml", "Digest of mask, mean and directions of those coordinates"
    )
    all_states = One(
        Path,
        "state_labels_all.pkl",
        "State of every particle, from 0, by its place among the sketch's volumes",
    )
    all_coordinates = One(
        Path, "vol_pca_all.pkl", "Coordinates of all particles along the volumes' components"
    )
    umap = One(Path, "umap_vol_pca.pkl", "Map of all particles' coordinates")
    communities = One(
        Path,
        "full_clustering/cluster_labels.pkl",
        "Community of every particle by its coordinates, from 1",
    )
    communities_map = One(Path, "full_clustering/umap.png", "A plot of the communities")
    full_report = One(Path, "report_full.html", "The page about all particles")
    density = One(
        Path,
        "particle_density.npz",
        "Particle density along the first two components, with its bootstrap band",
    )
    plot = Named(Path, "*.png", "One of the plots")


class LinearFiles(Folder):
    """Files of a linear run beside those of every run."""

    covariances = One(Path, "z_cov.npy", "Posterior covariance of every particle's latent")
    half_latents = One(
        Path,
        "z_half.npy",
        "Latents by the half models: even rows by the first, odd rows by the second",
    )
    contrasts = One(Path, "contrast.npy", "Contrast of every particle")
    mean = One(Path, "mean.mrc", "The mean volume")
    mask = One(Path, "mask.mrc", "Mask of the molecule")
    spectrum = One(
        Path, "spectrum.txt", "Variance of every component, and the number that carry signal"
    )
    noise = One(Path, "noise.txt", "Variance of the noise by shell and optics group")
    component = Numbered(Path, "component#.mrc", "The map of a component, counted from 1")
    fsc = Numbered(
        Path, "component#.fsc.txt", "Half-map correlation of a component; 0 is the mean"
    )


class JudgedFiles(Folder):
    """Scores of the particles of a run, and those that look like junk."""

    table = One(
        Path,
        "scores.csv",
        "Scores of every particle: row of the original file, contrast, probability that its "
        "image shows nothing, misfit, distances in the latent space, and 1 for junk",
    )
    junk = One(Path, "junk.pkl", "Particles that look like junk, as rows of the original file")
    good = One(Path, "good.pkl", "All others, as rows of the original file")
    picture = One(Path, "junk.png", "Scores, and images of the worst and of the border")


class DensityFiles(Folder):
    """The files of a density of conformations."""

    table = One(Path, "density.npz", "Axes, density and bootstrap samples")
    figure = One(Path, "density.png", "A picture of it")
    states = One(
        Path,
        "stable_states.csv",
        "Its maxima: share, free energy, depth, width, with intervals",
    )
    states_text = One(Path, "stable_states.txt", "z-values of the maxima, the largest first")
    clusters = One(Path, "cluster_shares.csv", "Shares of given clusters, with intervals")
    path_text = One(Path, "path.txt", "z-values along a path of high density")


class PostprocessFiles(Folder):
    """The files of one pair of half maps made into maps to build in."""

    unfiltered = One(Path, "unfiltered.mrc", "The mean of the half maps")
    weighted = One(Path, "weighted.mrc", "The same, weighted by the FSC up to the resolution")
    sharpened = One(Path, "sharpened.mrc", "The same, with the B factor")
    masked = One(Path, "sharpened_masked.mrc", "The sharpened map times the mask")
    locally_filtered = One(
        Path, "locally_filtered.mrc", "The sharpened map, filtered at the local resolution"
    )
    local_resolution = One(Path, "local_resolution.mrc", "Local resolution in Å")
    mask = One(Path, "mask.mrc", "The mask")
    curves = One(
        Path,
        "fsc.txt",
        "Correlation of the half maps: unmasked, masked, with random phases, corrected",
    )
    guinier = One(Path, "guinier.txt", "Logarithms of amplitudes against 1/d²")
    figure = One(Path, "postprocess.png", "Curves, Guinier plot and sections")
    record = One(Path, "postprocess.json", "Resolution, B factor and settings, for programs")


class ReconstructionFiles(Folder):
    """The files of one backprojection into a folder."""

    volume = One(Path, "backproject.mrc", "The volume of all images")
    half_map_a = One(Path, "half_map_a.mrc", "The volume of one half of them")
    half_map_b = One(Path, "half_map_b.mrc", "The volume of the other half")
    fsc_text = One(Path, "fsc-vals.txt", "Correlation of the half maps")
    fsc_plot = One(Path, "fsc-plot.png", "A plot of it")

    @classmethod
    def named(cls, output: Path) -> "ReconstructionFiles":
        """Names that follow from the output the user gave: a ``.mrc`` file, or a folder."""
        return FilesBesideVolume(output) if output.suffix == ".mrc" else cls(output)


class FilesBesideVolume(ReconstructionFiles):
    """The files of one backprojection into a volume that the user names (``path``)."""

    volume = One(Path, "*.mrc", "The volume of all images")
    half_map_a = One(Path, "*_half_map_a.mrc", "The volume of one half of them")
    half_map_b = One(Path, "*_half_map_b.mrc", "The volume of the other half")
    fsc_text = One(Path, "*_fsc.txt", "Correlation of the half maps")
    fsc_plot = One(Path, "*_fsc.png", "A plot of it")

    def place(self, name: str) -> Path:
        """The path of a file named after the volume."""
        return self.path.with_name(name.replace("*", self.path.stem))


class ScreeningFiles(Folder):
    """Files about images that cannot be used, beside the results."""

    table = One(Path, "screened.csv", "Row and reason of every bad image")
    kept = One(Path, "screened_ind.pkl", "Rows of the images that are used, as an index pickle")

    @classmethod
    def beside(cls, output: Path) -> "ScreeningFiles":
        """Those of a command that writes no run; of other names in the folder of a run."""
        if RunDirectory(output.parent).holds_run:
            return ScreeningFilesInRun(output)
        return cls(output.parent)

    def rows_of_record(self, recorded: Path) -> Path:
        """A recorded index file; where it is one of screening, the rows kept here, if any."""
        is_own = recorded.name == self.kept.name and self.kept.is_file()
        return self.kept.resolve() if is_own else recorded


class ScreeningFilesInRun(ScreeningFiles):
    """Files about images that cannot be used, for another output in the folder of a run.

    They are named after that output (``path``).
    """

    table = One(Path, "*.screened.csv", "Row and reason of every bad image")
    kept = One(
        Path, "*.screened_ind.pkl", "Rows of the images that are used, as an index pickle"
    )

    def place(self, name: str) -> Path:
        """The path of a file named after the output."""
        return self.path.with_name(name.replace("*", self.path.stem))


class NuisanceFiles(Folder):
    """The files of one report on nuisance variables."""

    page = One(Path, "nuisance.html", "Report with pictures")
    json = One(Path, "nuisance.json", "Results for programs")


class CheckFiles(Folder):
    """The files of one check."""

    page = One(Path, "check.html", "Report with pictures")
    json = One(Path, "check.json", "Results for programs")
    map = One(Path, "map.mrc", "The map of the sample, at low resolution")


class SimulationFiles(Folder):
    """The files of one simulated particle set."""

    particles = One(Path, "particles.mrcs", "The images")
    tilted = One(Path, "particles_tilt.mrcs", "The images of the second exposure of tilt pairs")
    clean_images = One(
        Path, "clean.npy", "Images without noise, kept only while the set is made"
    )
    star = One(Path, "particles.star", "Images, poses and CTF as RELION 3.1 writes them")
    poses = One(Path, "poses.pkl", "The true poses")
    ctf = One(Path, "ctf.pkl", "The true CTF parameters")
    labels = One(Path, "labels.npy", "Number of the true state of every particle")
    settings = One(Path, "simulation.yaml", "Settings with which the set was made")
    state = Numbered(Path, "gt/state_###.mrc", "The true volume of a state")


class PowerFiles(Folder):
    """The files of one report on power."""

    page = One(Path, "power.html", "Report with pictures")
    table = One(
        Path, "power.csv", "Probability of detection by motion, share and number of particles"
    )
    json = One(Path, "power.json", "Results for programs")
    planted = One(SimulationFiles, "planted", "The set with a motion planted")
    judgement = One(Path, "judgement.json", "Comparison of a run with what was planted")


class ConvergenceFiles(Folder):
    """The files of a comparison of the epochs of a run."""

    latents = One(Path, "latents.csv", "Table of the changes of the latents between epochs")
    volumes = One(Path, "volumes.csv", "Table of the agreement of volumes between epochs")
    particles = One(Path, "particles.txt", "Numbers of the particles whose volumes those are")
    epoch = Numbered(VolumeSeries, "epoch#", "Volumes of these particles at an epoch")
    plot = Named(Path, "*.png", "One of the plots: `latents`, `volumes`, `umap`")


class RunDirectory(Folder):
    """The files of one training run."""

    config_yaml = One(Path, "config.yaml", "Settings of the run, as text")
    config_pickle = One(Path, "config.pkl", "Settings, in the layout of cryoDRGN 0.2.0")
    log = One(Path, "run.log", "Log of the run, one line per message")
    metrics = One(Path, "metrics.csv", "Losses along the run, as a table")
    events = One(Path, "events.jsonl", "Events as they happen, one JSON object per line")
    convergence = One(
        Path, "convergence.csv", "Table of the held-out evaluation after every epoch"
    )
    checkpoint = One(Path, "checkpoint.pkl", "State of a run within an epoch")
    outside = One(
        Path,
        "outside.mrc",
        "Consensus outside of the focus mask, in units of normalised images",
    )
    selection = Named(
        Path,
        "selections/*.pkl",
        "Particles that were chosen on the page, as rows of the original file",
    )
    latents = EachEpoch(Path, "z.pkl", "Latent mean and log-variance of every particle")
    poses = EachEpoch(Path, "pose.pkl", "Refined poses")
    reconstruction = EachEpoch(Path, "reconstruct.mrc", "The volume of a homogeneous run")
    # The last of an epoch's files: those that are copied earlier are whole when it is there.
    weights = EachEpoch(Path, "weights.pkl", "Network weights")
    analysis = EachEpoch(AnalysisFiles, "analyze", "Default folder for an analysis")
    landscape = EachEpoch(LandscapeFiles, "landscape", "Default folder for a landscape")
    comparison = Numbered(
        ConvergenceFiles, "convergence.#", "Default folder for a comparison of epochs"
    )
    linear = One(LinearFiles, ".", "Files of a linear run beside those of every run")
    judged = One(JudgedFiles, ".", "Scores of the particles of a finished run")

    @property
    def holds_run(self) -> bool:
        """True if the settings of a run are there."""
        return self.config_yaml.is_file() or self.config_pickle.is_file()

    def results(self, epoch: int) -> list[tuple[Path, Path]]:
        """Files that an epoch may have left, each with its place in the finished run."""
        entries = [entry for entry in self.files() if isinstance(entry, EachEpoch)]
        places = [entry.__get__(self, type(self)) for entry in entries]
        return [(place(epoch), place()) for place in places]

    def epochs(self) -> list[int]:
        """Epochs that have weights, in order."""
        return RunDirectory.weights.numbers(self)

    def latent_epochs(self) -> list[int]:
        """Epochs that have latents, in order."""
        return RunDirectory.latents.numbers(self)

    def analysed_epochs(self) -> list[int]:
        """Epochs that have been analysed into their default folders, in order."""
        return RunDirectory.analysis.numbers(self)


def latents_at(path: Path) -> Path:
    """A file of latents that a user names by itself or by the folder of its run."""
    return RunDirectory(path).latents() if path.is_dir() else path


class StateFiles(Folder):
    """The files of states reconstructed from images."""

    run = One(RunDirectory, ".", "The model of smooth functions, as a run")
    matched_rows = One(
        Path,
        "matched_ind.pkl",
        "With particles given: rows of the run's particles in that file",
    )
    matched_poses = One(Path, "matched_poses.pkl", "Their poses, where they are the run's")
    matched_ctf = One(Path, "matched_ctf.pkl", "Their CTF, where it is the run's")
    table = One(Path, "states.csv", "Table of the states: latent, particles, resolution")
    figure = One(Path, "states.png", "All of it at a glance")
    volume = Numbered(Path, "state_###.mrc", "The volume of a state")
    half_map_a = Numbered(Path, "state_###_half_map_a.mrc", "One of its half maps")
    half_map_b = Numbered(Path, "state_###_half_map_b.mrc", "The other")
    fsc = Numbered(Path, "state_###_fsc.txt", "Their correlation")
    local_resolution = Numbered(Path, "state_###_local_resolution.mrc", "Local resolution in Å")
    standard_error = Numbered(
        Path, "state_###_standard_error.mrc", "Standard error of every voxel"
    )
    sharpened = Numbered(
        Path,
        "state_###_sharpened.mrc",
        "The mean of the half maps, weighted by their FSC and sharpened",
    )
    curves = Numbered(
        Path,
        "state_###_curves.txt",
        "Correlation of the half maps: unmasked, masked, with random phases, corrected",
    )
    record = Numbered(Path, "state_###.json", "Resolution, B factor and effective number")
    picture = Numbered(Path, "state_###.png", "Curves, Guinier plot and sections of a state")
    mask = One(Path, "states_mask.mrc", "The mask of all states")
    report = One(Path, "states.html", "A page of all states")


class DemoFiles(Folder):
    """The files of one demo."""

    simulation = One(SimulationFiles, "simulated", "The simulated particle set")
    particles = One(Path, "particles.32.mrcs", "The downsampled stack")
    poses = One(Path, "pose.pkl", "Parsed poses")
    ctf = One(Path, "ctf.pkl", "Parsed CTF parameters")
    consensus = One(Path, "backproject.32.mrc", "The backprojected volume")
    consensus_fsc = One(Path, "backproject.32_fsc.txt", "The correlation of its half maps")
    run = One(RunDirectory, "00_vae32_z1", "The training run")
    z_values = One(Path, "z_values.txt", "Points of the latent space along the motion")
    volumes = One(VolumeSeries, "volumes", "The volumes at those points")
    report = One(Path, "report.html", "The report")


class WholeRunFiles(Folder):
    """The files of one run from check to report."""

    events = One(Path, "events.jsonl", "Events as they happen, one JSON object per line")
    manifest = One(
        Path,
        "run.json",
        "Versions, seeds, inputs with hashes, choices with reasons, and steps of the run",
    )
    log = One(Path, "run.log", "Log of all steps, one line per message")
    check = One(CheckFiles, "check", "The check of the particles")
    consensus = One(
        ReconstructionFiles, "consensus", "The map with its symmetry (`--symmetry`)"
    )
    linear = One(RunDirectory, "linear", "The linear run, whose mean is the first volume")
    linear_round = Numbered(
        RunDirectory,
        "linear_#",
        "The linear run without what looked like junk in the one before it",
    )
    training = One(RunDirectory, "training", "The training run")
    analysis = One(AnalysisFiles, "training/analyze", "The analysis of the training run")
    nuisance = One(NuisanceFiles, "nuisance", "The report on nuisance variables")
    report = One(Path, "report.html", "All of it on one page")
