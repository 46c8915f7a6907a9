"""For every tool a line that works, and values of its options that can be told apart."""

from cli.option_cases import LIKE, POSES
from cli.option_pairs import Case

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
