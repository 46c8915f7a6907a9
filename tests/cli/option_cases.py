"""For every command a line that works, and values of its options that can be told apart."""

from pathlib import Path

import numpy as np

from cli.option_pairs import Case
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_pickles
from cryodrgn.io.cryosparc_tables import write_table
from cryodrgn.io.mrc import read_volume, stack_writer, write_volume
from tomogram_layouts import Project, write_relion5

COUNT, BOX = 12, 16
CS_COLUMNS = [
    *(("blob/path", "S40"), ("blob/idx", "u4"), ("blob/shape", "u4", (2,))),
    *(("blob/psize_A", "f4"), ("uid", "u8")),
    *(("alignments3D/pose", "f4", (3,)), ("alignments3D/shift", "f4", (2,))),
    *(("alignments_class_0/pose", "f4", (3,)), ("alignments_class_0/shift", "f4", (2,))),
    *(("alignments_class_1/pose", "f4", (3,)), ("alignments_class_1/shift", "f4", (2,))),
    *((f"alignments_class_{number}/class_posterior", "f4") for number in (0, 1)),
    *((f"ctf/{name}", "f4") for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv")),
    *((f"ctf/{name}", "f4") for name in ("cs_mm", "amp_contrast", "phase_shift_rad")),
]


def _scores() -> str:
    lines = [f"{row},{row / COUNT},0" for row in range(COUNT)]
    return "\n".join(["row,contrast,junk", *lines]) + "\n"


def make_inputs(folder: Path) -> None:
    """All files that the lines below name."""
    words = f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 2 --tilt-deg 30 -o {folder}"
    assert main(words.split()) == 0
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(COUNT, 3)).astype(np.float32)
    for name, content in {
        "z": latents,
        "z1": latents[:, :1],
        "z2": latents[:, :2],
        "other": -latents,
        "ind": np.arange(COUNT - 2),
        "all": np.arange(COUNT),
        "few": np.array([1, 3, 5]),
        "labels": np.arange(COUNT) % 3,
    }.items():
        save_pickles(folder / f"{name}.pkl", [content])
    rotations, shifts = load_pickles(folder / "poses.pkl")[0]
    save_pickles(folder / "other_poses.pkl", [(rotations[::-1].copy(), shifts)])
    save_pickles(folder / "selections/some.pkl", [np.array([1, 5, 7])])
    (folder / "config.yaml").write_text("dataset_args: {}\nmodel_args: {}\n")
    texts = {"z.txt": "0.1 0.2\n0.3 0.4\n", "z3.txt": "0.1 0.2 0.3\n", "scores.csv": _scores()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    table = np.zeros(COUNT, dtype=CS_COLUMNS)
    table["blob/path"], table["blob/idx"] = b"particles.mrcs", np.arange(COUNT)
    table["blob/shape"], table["blob/psize_A"], table["uid"] = BOX, 12, np.arange(COUNT)
    for number, name in enumerate(("alignments3D", "alignments_class_0", "alignments_class_1")):
        table[f"{name}/pose"] = rng.normal(size=(COUNT, 3))
        table[f"{name}/shift"] = rng.normal(size=(COUNT, 2)) + number
    table["alignments_class_0/class_posterior"] = np.arange(COUNT) % 2
    table["alignments_class_1/class_posterior"] = 1 - np.arange(COUNT) % 2
    table["ctf/df1_A"], table["ctf/df2_A"], table["ctf/accel_kv"] = 12000, 11000, 300
    table["ctf/cs_mm"], table["ctf/amp_contrast"] = 2.7, 0.1
    star = (folder / "particles.star").read_text()
    rows = [line for line in star.splitlines() if "@" in line]
    grouped = "data_\n\nloop_\n_rlnImageName #1\n_rlnGroupName #2\n_rlnMicrographName #3\n"
    for number, row in enumerate(rows):
        name = next(word for word in row.split() if "@" in word)
        grouped += f"{name} particle{number // 2} micrograph{number % 2}.mrc\n"
    (folder / "grouped.star").write_text(grouped)
    words = f"expand {folder}/particles.star --symmetry C2 -o {folder}/expanded.star"
    assert main(words.split()) == 0
    volume, _ = read_volume(folder / "gt/state_000.mrc")
    write_volume(folder / "mask.mrc", (volume > volume.mean()).astype("f4"), 12.0)
    write_volume(folder / "noisy.mrc", rng.normal(volume, volume.std()).astype("f4"), 12.0)
    with stack_writer(folder / "cube.mrcs", BOX, 12.0) as writer:
        writer.append(rng.normal(size=(BOX, BOX, BOX)).astype(np.float32))
    curve = "\n".join(f"{shell / BOX} {1 - shell / 8}" for shell in range(1, 8))
    (folder / "fsc.txt").write_text(f"frequency fsc\n{curve}\n")
    line = "# =====> Epoch: {} Average loss = {}; Finished in 0:00:01\n"
    (folder / "run.log").write_text("".join(line.format(n, 1 / n) for n in (1, 2, 3)))
    write_table(folder / "particles.cs", table)
    write_relion5(Project.random(rng, count=2), folder, name="tomogram_particles")


POSES = {
    "--ctf-applied": "flipped",
    "--poses": "IN/poses.pkl",
    "--ctf": "IN/ctf.pkl",
    "--ind": "IN/ind.pkl",
}
LIKE = {"--like": "IN/gt/state_000.mrc"}
DATA = {**POSES, "--box": "10", "--datadir": "IN/", "--tilt": "IN/particles_tilt.mrcs", **LIKE}
PLAIN = "cryodrgn.preflight.plan:require_output"
PHYSICS = {"--symmetry": "D2", "--ewald": "-1"}
SCREENED = (
    PLAIN,
    "cryodrgn.reconstruction.assumptions:check_symmetry",
    "cryodrgn.reconstruction.assumptions:check_curvature",
    "cryodrgn.data.config:DataConfig.open",
    "cryodrgn.data.config:DataConfig.with_places",
    "cryodrgn.preflight.screening:run_excluding_bad_images",
    "cryodrgn.preflight.screening:screen_data",
    "cryodrgn.preflight.screening:screen_particles",
)
TRAINING = (
    *SCREENED,
    "cryodrgn.preflight.plans:training_plan",
    "cryodrgn.training.start:resolve_resume",
    "cryodrgn.training.runner:train",
    "cryodrgn.linear.network_scores:judge_run",
    "cryodrgn.workflow.junk_gallery:draw_junk",
    "cryodrgn.runs.run:open_run",
)
TRAINED = {
    **DATA,
    "--load": "IN/weights.pkl",
    "--norm": "1 2",
    "--ind": "IN/ind.pkl",
    "--cache-dir": "OUT/cache",
    "--held-out": "0.1",
    "--load-z": "IN/z.pkl",
    "--init-z": "IN/z.pkl",
    "--from": "IN/gt",
    "--crop-box-size": "8",
    "-D": "8",
    "--encode-mode": "mlp",
    "--beta": "2",
    "--enc-mask": "4",
    "--load-poses": "IN/other_poses.pkl",
    "--initial-conf": "IN/z.pkl",
    "--epochs-pose-search": "2",
    "--max-freq": "5",
    "--window-r": "0.9",
    "--window-radius-gt-real": "0.9",
    "--equivariance": "1",
    "--curriculum": "2",
    "--l-end": "40",
    "--output-mask": "circ",
    "--use-conf-encoder": "",
}
# Images that are no tilt series have none of these.
SERIES = "--ntilts --dose-per-tilt --angle-per-tilt"
DEFAULTS = "--uninvert-data --no-window --no-stop-when-converged --output-mask"
STAR = "IN/particles.star -o OUT"

DECODING = (
    "cryodrgn.io.run_config:find_run_config",
    "cryodrgn.io.run_config:load_run_config",
    "cryodrgn.reconstruction.trained:TrainedModel.load",
    "cryodrgn.preflight.plans:volumes_plan",
    "cryodrgn.reconstruction.decode:write_volumes",
)
GENERATED = {
    **LIKE,
    "--z-start": "1 2",
    "--z-end": "2 3",
    "--zfile": "IN/z.txt",
    "-D": "16",
    "--downsample": "8",
    "--crop": "8",
    "--norm": "1 2",
    "--encode-mode": "mlp",
}

CASES = {
    "downsample": Case(
        line="IN/cube.mrcs -D 8 -o OUT/small.mrcs",
        values={
            "--chunk": "5",
            "--datadir": "IN/gt",
            "--screen": "all",
            "--ind": "IN/ind.pkl",
            "--box": "10",
        },
        quiet="--datadir --screen",
    ),
    "parse_pose_star": Case(
        line="IN/particles.star -o OUT/poses.pkl",
        values={"-D": str(BOX), "--Apix": "12"},
        quiet="-D --Apix",
    ),
    "parse_star": Case(
        line="IN/particles.star --ctf OUT/ctf.pkl",
        values={
            "-D": str(BOX),
            "--Apix": "12",
            "--poses": "OUT/poses.pkl",
            "--kv": "200",
            "--cs": "2",
            "-w": "0.2",
            "--ps": "10",
            "--png": "OUT/ctf.png",
        },
        quiet="-D --Apix --overwrite",
    ),
    "parse_pose_csparc": Case(
        line="IN/particles.cs -o OUT/poses.pkl",
        values={"-D": str(BOX), "--Apix": "12", "--class": "1"},
        quiet="-D --Apix",
    ),
    "parse_ctf_star": Case(
        line="IN/particles.star -o OUT/ctf.pkl",
        values={
            "-D": str(BOX),
            "--Apix": "12",
            "--png": "OUT/ctf.png",
            "--kv": "200",
            "-w": "0.2",
        },
        quiet="-D --Apix",
    ),
    "parse_ctf_csparc": Case(
        line="IN/particles.cs -o OUT/ctf.pkl",
        values={"-D": str(BOX), "--Apix": "12", "--png": "OUT/ctf.png"},
        quiet="-D --Apix",
    ),
    "train_vae": Case(
        line=f"{STAR} --zdim 2",
        values=TRAINED,
        stubs=TRAINING,
        quiet=f"{DEFAULTS} --window",
        refused="--decoder --from --train-volumes",
    ),
    "train_nn": Case(
        line=STAR,
        values=TRAINED,
        stubs=TRAINING,
        quiet=f"{DEFAULTS} --window",
        refused="--decoder",
    ),
    "train_dec": Case(
        line=f"{STAR} --zdim 2",
        values=TRAINED,
        stubs=TRAINING,
        quiet=f"{DEFAULTS} --window",
        refused="--decoder --from --train-volumes",
    ),
    "abinit_homo": Case(
        line=STAR,
        values=TRAINED,
        stubs=TRAINING,
        quiet=f"{DEFAULTS} --window",
        refused="--curriculum --decoder",
    ),
    "abinit_het": Case(
        line=f"{STAR} --zdim 2",
        values=TRAINED,
        stubs=TRAINING,
        quiet=f"{DEFAULTS} --window",
        refused="--curriculum --enc-only --decoder",
    ),
    "abinit": Case(
        line=f"{STAR} --zdim 2",
        values=TRAINED,
        stubs=TRAINING,
        quiet=f"{DEFAULTS} --window",
        refused="--curriculum --enc-only --decoder",
    ),
    "train_linear": Case(
        line=STAR,
        values={**TRAINED, **PHYSICS},
        stubs=(
            *SCREENED,
            "cryodrgn.preflight.plans:linear_plan",
            "cryodrgn.linear.runner:train_linear",
            "cryodrgn.workflow.junk_gallery:draw_junk",
            "cryodrgn.runs.run:open_run",
        ),
        quiet=f"{DEFAULTS} --window",
    ),
    "reconstruct_states": Case(
        line="IN -o OUT",
        values={
            **TRAINED,
            **PHYSICS,
            "--latents": "IN/other.pkl",
            "--particles": "IN/particles.star",
            "--zfile": "IN/z3.txt",
            "--mask": "IN/gt/state_000.mrc",
            "-z": "1 2",
        },
        stubs=(
            *SCREENED,
            "cryodrgn.preflight.plans:states_plan",
            "cryodrgn.preflight.screening:places_kept",
            "cryodrgn.jobs.other_stack:in_other_stack",
            "cryodrgn.linear.state_files:check_states",
            "cryodrgn.linear.state_files:reconstruct_states",
            "cryodrgn.linear.latents:run_latents",
            "cryodrgn.linear.latents:Latents.of_particles",
            "cryodrgn.linear.latents:recorded_data",
            "cryodrgn.io.run_config:find_run_config",
            "cryodrgn.io.run_config:load_run_config",
            "cryodrgn.analysis.clusters:cluster_by_means",
            "cryodrgn.analysis.density:require_density",
            "cryodrgn.analysis.density:conformational_density",
            "cryodrgn.analysis.stable_states:stable_states",
            "cryodrgn.analysis.state_plots:plot_states",
            "cryodrgn.analysis.plots:save_figure",
        ),
        quiet=f"{DEFAULTS} --window --ctf",
    ),
    "backproject_voxel": Case(
        line="IN/particles.star -o OUT",
        values={**DATA, **PHYSICS, "--first": "4"},
        stubs=(
            *SCREENED,
            "cryodrgn.preflight.plans:backprojection_plan",
            "cryodrgn.reconstruction.backproject:backproject",
            "cryodrgn.reconstruction.backproject:save_reconstruction",
            "cryodrgn.reconstruction.map_agreement:describe_resolution",
            "cryodrgn.io.curves:write_fsc",
            "cryodrgn.io.mrc:write_volume",
            "cryodrgn.analysis.plots:plot_fsc",
            "cryodrgn.analysis.plots:save_figure",
        ),
        quiet="--uninvert-data --ctf --ctf-applied --datadir --single-images",
        refused=f"{SERIES} --force-ntilts",
    ),
    "check": Case(
        line="IN/particles.star -o OUT/c",
        values=DATA,
        stubs=("cryodrgn.workflow.check:check_particles",),
        quiet="--accept",
    ),
    "run": Case(
        line=STAR,
        values={**DATA, "--symmetry": "D2", "--held-out": "0.1", "--window-r": "0.9"},
        stubs=(
            "cryodrgn.jobs.run:_Pipeline",
            "cryodrgn.reconstruction.assumptions:check_symmetry",
        ),
        refused=SERIES,
    ),
    "dashboard": Case(
        line="IN/",
        values={"--host": "localhost", "--port": "7000"},
        stubs=("cryodrgn.page.serving:serve_runs", "cryodrgn.devices:choose_device"),
    ),
    "compare_models": Case(
        line="IN/ IN/",
        values={"-o": "OUT/c.csv"},
        stubs=(
            "cryodrgn.devices:choose_device",
            "cryodrgn.runs.run:open_run",
            "cryodrgn.workflow.run_comparison:compare_runs",
            "cryodrgn.workflow.run_comparison:write_comparison",
        ),
    ),
    "filter": Case(
        line="IN/",
        values={
            "--host": "localhost",
            "--port": "7000",
            "--clusters": "1",
            "--outliers": "0.1",
            "--plot-inds": "IN/few.pkl",
            "--sel-dir": "OUT/s",
            "--kmeans": "4",
        },
        stubs=(
            "cryodrgn.page.serving:serve_runs",
            "cryodrgn.devices:choose_device",
            "cryodrgn.runs.run:open_run",
            "cryodrgn.jobs.filter:Filter._divided",
        ),
        quiet="--kmeans --epoch --force --outliers --clusters --plot-inds",
    ),
    "demo": Case(
        line="-o OUT",
        stubs=(
            "cryodrgn.jobs.demo:_done",
            "cryodrgn.workflow.demo:write_centres",
            "cryodrgn.workflow.demo:report_demo",
        ),
    ),
    "doctor": Case(values={"--device": "cpu"}, quiet="--device"),
    "benchmark": Case(
        stubs=(
            "cryodrgn.benchmarking.report:measure_machine",
            "cryodrgn.benchmarking.report:table",
            "cryodrgn.benchmarking.report:write_json",
            "cryodrgn.devices:choose_device",
        ),
        values={"--json": "OUT/x.json"},
    ),
    "analyze": Case(
        line="IN 3",
        stubs=("cryodrgn.runs.run:open_run", "cryodrgn.workflow.analyze:analyze"),
        values={"--outdir": "OUT/a", "--vol-start-index": "1"},
    ),
    "analyze_landscape": Case(
        line="IN 3",
        stubs=("cryodrgn.runs.run:open_run", "cryodrgn.workflow.landscape:make_landscape"),
        values={
            "--outdir": "OUT/a",
            "--downsample": "16",
            "--mask": "IN/gt/state_000.mrc",
            "--vol-start-index": "1",
        },
    ),
    "analyze_landscape_full": Case(
        line="IN 3",
        stubs=(
            "cryodrgn.runs.run:open_run",
            "cryodrgn.workflow.landscape_full:map_all_particles",
        ),
        values={"--outdir": "OUT/a", "--landscape-dir": "OUT/b"},
    ),
    "power": Case(
        line="IN/particles.star -o OUT",
        values={
            **DATA,
            "--consensus": "IN/map.mrc",
            "--window-r": "0.9",
            "--model": "IN/a.pdb IN/b.pdb",
            "--chains": "A B",
            "--mask": "IN/mask.mrc",
            "--axis": "0 0 1",
            "--motions": "5 10",
            "--shares": "0.3 0.1",
            "--judge": "IN/",
        },
        stubs=(
            "cryodrgn.devices:choose_device",
            "cryodrgn.linear.runner:with_double_precision",
            "cryodrgn.runs.run:open_run",
            "cryodrgn.workflow.planted:judge_run",
            "cryodrgn.workflow.planted:plant_in",
            "cryodrgn.workflow.power_report:report_power",
        ),
        refused="--chains",
        quiet=DEFAULTS,
    ),
    "nuisance": Case(
        line="IN/particles.star IN/z.pkl",
        values={**DATA, "--outdir": "OUT/n"},
        stubs=("cryodrgn.workflow.nuisance:report_nuisances",),
    ),
    "conformational_density": Case(
        line="IN -o OUT",
        values={
            "--anchors": "1 2",
            "--dims": "1",
            "--bootstraps": "3",
            "--labels": "IN/labels.pkl",
        },
        stubs=(
            "cryodrgn.linear.latents:run_latents",
            "cryodrgn.analysis.density:conformational_density",
            "cryodrgn.analysis.density:density_path",
            "cryodrgn.analysis.density:lifted",
            "cryodrgn.analysis.density:write_density",
            "cryodrgn.analysis.density_plots:plot_density",
            "cryodrgn.analysis.stable_states:stable_states",
            "cryodrgn.analysis.stable_states:cluster_shares",
            "cryodrgn.analysis.stable_states:write_stable_states",
            "cryodrgn.analysis.shares:write_shares",
            "cryodrgn.analysis.plots:save_figure",
            "cryodrgn.io.latent_text:save_latent_text",
        ),
    ),
    "eval_vol": Case(
        line="IN/z.pkl -o OUT/v.mrc -z 1 2",
        values=GENERATED,
        stubs=DECODING,
        quiet="--compile",
        refused="--z-start --z-end --zfile",
    ),
    "eval_images": Case(
        line="IN/particles.star IN/z.pkl -o OUT/z.pkl",
        values={**DATA, **GENERATED, "--out-z": "OUT/latents.pkl", "--window-r": "0.9"},
        stubs=(
            *SCREENED,
            "cryodrgn.io.run_config:find_run_config",
            "cryodrgn.io.run_config:load_run_config",
            "cryodrgn.reconstruction.trained:TrainedModel.load",
            "cryodrgn.jobs.eval_images:replace",
            "cryodrgn.preflight.plans:encoding_plan",
            "cryodrgn.reconstruction.trained:prepare_as_trained",
            "cryodrgn.reconstruction.encode:evaluate_all",
            "cryodrgn.io.cryodrgn_pickle:save_latents",
            "cryodrgn.io.cryodrgn_pickle:save_pickles",
        ),
        quiet="--window --ctf --datadir --single-images",
        refused=f"{SERIES} --box",
    ),
    "pc_traversal": Case(
        line="IN/z.pkl", values={"--pc": "2", "--lim": "10 80", "--outdir": "OUT"}
    ),
    "direct_traversal": Case(line="IN/z.pkl --anchors 1 2 3", values={"--outtxt": "OUT/z.txt"}),
    "graph_traversal": Case(
        line="IN/z.pkl --anchors 1 2 --max-neighbors 12 --avg-neighbors 9",
        values={"--outind": "OUT/i.txt", "--outtxt": "OUT/z.txt", "--max-images": "7"},
        quiet="--batch-size --max-images",
    ),
    "select": Case(
        line="IN/ -o OUT/ind.pkl --coordinates IN/z.pkl --labels IN/labels.pkl "
        "--all-of IN/all.pkl",
        values={
            "--from": "some",
            "--ind": "IN/all.pkl",
            "--num-original": "12",
            "--clusters": "1",
            "--box": "2 -9 0",
            "--outliers": "0.1",
            "--near": "0 0 0",
            "--any-of": "IN/few.pkl",
            "--none-of": "IN/few.pkl",
            "--near-particle": "3",
            "--particles": "IN/particles.star",
            "--pixel-size": "12",
            "--ctf": "IN/ctf.pkl",
            "--datadir": "IN/",
            "--count": "2",
            "--feature": "96,96,96",
            "--probability": "0.9",
        },
        quiet="--ind --num-original --particles --ctf --datadir --pixel-size",
        # The run has no particles; tests/linear/test_feature.py has one.
        refused="--feature --absent --probability",
    ),
    "export": Case(
        line="IN/particles.star --ind IN/few.pkl -o OUT/few.star",
        quiet="--table-ind --single-images",
        values={
            "--labels": "IN/labels.pkl",
            "--latents": "IN/z.pkl",
            "--scores": "IN/scores.csv",
            "--table-ind": "IN/all.pkl",
            "--passthrough": "IN/particles.cs",
            "--chosen-from": "IN/expanded.star",
            "--expanded": "IN/expanded.star",
            "--copies": "any",
        },
        # The particles are of no tomograms; tests/io/test_m_particle_lists.py has some.
        refused="--chosen-from",
    ),
    "expand": Case(
        line="IN/particles.star --symmetry C2 -o OUT/expanded.star",
        values={"--symmetry": "C3", "--passthrough": "IN/particles.cs"},
    ),
    "simulate": Case(
        line="-o OUT",
        values={
            "-D": "8",
            "--Apix": "40",
            "--hinge-range": "20.5",
            "-w": "0.2",
            "--device": "meta",
        },
        stubs=(
            "cryodrgn.preflight.plans:simulation_plan",
            "cryodrgn.simulation.simulate:simulate",
            "cryodrgn.simulation.states:hinge_states",
        ),
    ),
}
LATENT_PICTURE = {
    "--stride": "2",
    "--output": "OUT/z.png",
    "--alpha": "0.9",
    "--ylim": "-9 9",
    "--sample1": "3",
    "--sample2": "4",
    "--out-s": "OUT/s.txt",
    "--axis": "1 0",
}
DRAWN = (
    "cryodrgn.analysis.marginal_plots:plot_marginals",
    "cryodrgn.analysis.marginal_plots:plot_along_particles",
    "cryodrgn.analysis.plots:save_figure",
)
TOOL_CASES = {
    "add_noise": Case(
        line="IN/particles.mrcs -o OUT/n.mrcs",
        values={
            "--snr": "1",
            "--sigma": "2",
            "--mask-r": "4",
            "--out-png": "OUT/n.png",
            "--datadir": "IN/gt",
            "--mask": "circular",
        },
        quiet="--datadir",
    ),
    "add_psize": Case(line="IN/gt/state_000.mrc -o OUT/a.mrc"),
    "align3d": Case(
        line="IN/gt/state_000.mrc IN/gt/state_001.mrc -o OUT/a.mrc --r-resol 0 --max-D 8",
        stubs=("cryodrgn.reconstruction.align:align_volume",),
        quiet="--verbose",
    ),
    "align_poses": Case(
        line="IN/poses.pkl IN/other_poses.pkl -o OUT/p.pkl",
        values={
            "--ind": "IN/all.pkl",
            "--vol": "IN/gt/state_000.mrc",
            "--ref-vol": "IN/gt/state_001.mrc",
            "--out-vol": "OUT/v.mrc",
        },
        quiet="--ind --same-hand",
    ),
    "clean": Case(line="IN/gt", stubs=("cryodrgn.io.run_cleaning:plan_cleaning",)),
    "concat_pkls": Case(line="IN/z.pkl IN/z.pkl -o OUT/c.pkl"),
    "filter_cs": Case(line="IN/particles.cs --ind IN/few.pkl -o OUT/c.cs"),
    "filter_mrcs": Case(
        line="IN/particles.mrcs --ind IN/few.pkl",
        values={"--datadir": "IN/gt", "--output": "OUT/f.mrcs"},
        quiet="--datadir",
    ),
    "filter_pkl": Case(
        line="IN/z.pkl -o OUT/f.pkl", values={"--ind": "IN/few.pkl", "--first": "5"}
    ),
    "filter_star": Case(line="IN/grouped.star --ind IN/few.pkl -o OUT/f.star"),
    "flip_hand": Case(line="IN/gt/state_000.mrc -o OUT/f.mrc"),
    "fsc": Case(
        line="IN/gt/state_000.mrc IN/gt/state_001.mrc",
        values={
            "--ref-volume": "IN/gt/state_000.mrc",
            "--mask": "IN/mask.mrc",
            "--corrected": "80",
            "--plot": "OUT/p.png",
            "--output": "OUT/f.txt",
        },
    ),
    "gen_mask": Case(
        line="IN/gt/state_000.mrc OUT/m.mrc --dist 0 --dilate 0",
        values={"--threshold": "0.001", "--png": "OUT/m.png", "--png-output": "OUT/m.png"},
    ),
    "invert_contrast": Case(line="IN/gt/state_000.mrc -o OUT/f.mrc"),
    "kmeans": Case(
        line="IN/z.pkl -k 2 -o OUT/l.pkl",
        values={
            "--out-png": "OUT/k.png",
            "--out-k": "OUT/k.txt",
            "--stride": "2",
            "--out-k-ind": "OUT/i.txt",
        },
        quiet="--seed",
    ),
    "phase_flip": Case(
        line="IN/particles.mrcs IN/ctf.pkl -o OUT/f.mrcs",
        values={"--datadir": "IN/gt"},
        quiet="--datadir",
    ),
    "plot_fsc": Case(
        line="IN/fsc.txt -o OUT/f.png", values={"--threshold": "0.5", "-t": "0.5"}
    ),
    "plot_loss": Case(line="IN/run.log -o OUT/l.png"),
    "plot_z1": Case(line="IN/z1.pkl", values={**LATENT_PICTURE, "--axis": "0"}, stubs=DRAWN),
    "plot_z2": Case(line="IN/z2.pkl", values=LATENT_PICTURE, stubs=DRAWN),
    "plot_z_pca": Case(line="IN/z.pkl", values=LATENT_PICTURE, stubs=DRAWN),
    "postprocess": Case(
        line="IN/gt/state_000.mrc IN/noisy.mrc -o OUT",
        values={"--mask": "IN/mask.mrc", "--b-factor": "-300", "--fit-from": "150"},
        stubs=(
            "cryodrgn.analysis.postprocess_plots:plot_postprocessing",
            "cryodrgn.analysis.plots:save_figure",
        ),
    ),
    "project3d": Case(
        line="IN/gt/state_000.mrc -o OUT/p.mrcs",
        values={"-N": "3", "--grid": "0", "--out-pose": "OUT/p.pkl", "--out-png": "OUT/p.png"},
        quiet="--batch-size -b",
    ),
    "run_umap": Case(
        line="IN/z.pkl -o OUT/u.pkl",
        stubs=("cryodrgn.analysis.embedding:umap_embedding",),
        quiet="--show",
    ),
    "tsne": Case(
        line="IN/z.pkl -o OUT/u.pkl",
        stubs=("cryodrgn.analysis.embedding:tsne_embedding",),
        quiet="--show",
    ),
    "select_clusters": Case(
        line="IN/labels.pkl --sel 1 -o OUT/s.pkl",
        values={"--parent-ind": "IN/all.pkl", "--N-orig": "12"},
        quiet="--N-orig --parent-ind",
    ),
    "select_random": Case(
        line="20 -o OUT/s.pkl", values={"-n": "5", "--frac": "0.4", "-s": "OUT/i.pkl"}
    ),
    "translate_mrcs": Case(
        line="IN/particles.mrcs IN/poses.pkl -o OUT/t.mrcs",
        values={"--datadir": "IN/gt", "--out-png": "OUT/t.png"},
        quiet="--datadir",
    ),
    "view_cs_header": Case(line="IN/particles.cs"),
    "view_header": Case(line="IN/gt/state_000.mrc", values={"--output": "OUT/h.txt"}),
    "view_mrcs": Case(
        line="IN/particles.mrcs",
        values={"--datadir": "IN/gt", "--output": "OUT/v.png", "--ind": "IN/few.pkl"},
        quiet="--datadir",
    ),
    "parse_relion": Case(
        line="-t IN/tomograms.star -p IN/tomogram_particles.star -o OUT/tilts.star",
        values={"--tilt-dim": "40 30"},
        refused="--box",
    ),
    "analyze_convergence": Case(
        line="IN 3",
        stubs=(
            "cryodrgn.runs.run:open_run",
            "cryodrgn.workflow.epoch_convergence:analyze_epochs",
        ),
        values={"--outdir": "OUT/a", **LIKE},
    ),
    "make_movies": Case(
        line="IN 3 latent",
        stubs=(
            "cryodrgn.jobs.movies:MakeMovies.series",
            "cryodrgn.workflow.gallery:write_film",
        ),
        values={"--camera": "1,0,0,5,0,1,0,5,0,0,1,5", "--name": "film"},
        quiet="--analysis-dir --landscape-dir",
    ),
    "plot_classes": Case(
        line="IN 3 --labels IN/labels.pkl",
        stubs=(
            "cryodrgn.runs.run:open_run",
            "cryodrgn.jobs.classes:PlotClasses._maps",
            "cryodrgn.analysis.class_plots:plot_classes",
            "cryodrgn.analysis.plots:save_figure",
        ),
        values={"--plot-types": "kde", "--outdir": "OUT", "--palette": "tab20"},
        quiet="--skip-umap --seed",
    ),
    "view_config": Case(line="IN/config.yaml"),
    "make_train_test": Case(
        line="20 -o OUT/a.pkl --out-test OUT/b.pkl", values={"--frac": "0.3"}
    ),
    "write_cs": Case(
        line="IN/particles.mrcs -o OUT/w.cs",
        values={**POSES, "--datadir": "IN/gt"},
        quiet="--datadir",
    ),
    "write_star": Case(
        line="IN/particles.mrcs --ctf IN/ctf.pkl -o OUT/w.star",
        values={**POSES, "--datadir": "IN/gt"},
        quiet="--datadir",
    ),
}
