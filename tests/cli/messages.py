"""Mistakes and the exact sentences in which they end; ``{}`` is the folder of the files."""

from cryodrgn.io.selection_files import REMEDY

# The names that are most like that of a missing file.
NEAR = "NEAR"


SIZE = "<a size>"
PARTICLES = "{0}/sim/particles.mrcs"
TRAIN = "-o {0}/out --zdim 2 -n 1"
POSES, CTF = "--poses {0}/sim/poses.pkl", "--ctf {0}/sim/ctf.pkl"
# The rest of a line that trains, and the sentence in which it ends.
TRAINING: list[tuple[str, str]] = [
    ("{0}/missing.mrcs", "{0}/missing.mrcs does not exist; " + NEAR),
    (
        "{0}/sim",
        "{0}/sim is a folder, expected a file; give one of its files: {0}/sim/particles.star, "
        "{0}/sim/particles.mrcs, {0}/sim/ctf.pkl, {0}/sim/poses.pkl, …",
    ),
    (
        "{0}/particles.xyz",
        "{0}/particles.xyz has an unknown ending; expected .mrcs, .mrc, .star, .cs or .txt",
    ),
    (
        f"{{0}}/cut.mrcs {POSES}",
        "{0}/cut.mrcs is truncated: its header announces 24 × 16 × 16 values, 25600 bytes in "
        "all, but the file has 25500",
    ),
    (
        f"{{0}}/short.mrcs {POSES}",
        "{0}/short.mrcs cannot be read as an MRC file: it has 100 bytes",
    ),
    (
        f"{{0}}/packed.mrcs {POSES}",
        "{0}/packed.mrcs is compressed with gzip; unpack it first (gunzip)",
    ),
    (
        f"{{0}}/mode.mrcs {POSES}",
        "{0}/mode.mrcs cannot be read as an MRC file: Unrecognised mode '77'",
    ),
    (
        f"{{0}}/more.mrcs {POSES}",
        "{0}/more.mrcs lists 25 particles, but {0}/sim/poses.pkl has 24 rows; both must come "
        "from the same particle file",
    ),
    (
        f"{{0}}/bad.mrcs {POSES}",
        "{0}/bad.mrcs: 3 of 24 images screened cannot be used (rows 7, 8, 9; why is in "
        "{0}/out/screened.csv), which is more than 5%; find out what went wrong, or choose "
        "others with --ind",
    ),
    ("{0}/empty.txt", "{0}/empty.txt names no stacks"),
    ("{0}/lost.txt", "{0}/nowhere.mrcs does not exist; " + NEAR),
    ("{0}/binary.txt", "{0}/binary.txt is no text: byte 0 is not UTF-8"),
    (
        "{0}/empty.star",
        "{0}/empty.star is empty (0 bytes): the program that wrote it was stopped, or it was "
        "not copied whole; write or copy it again",
    ),
    ("{0}/rows.star", "{0}/rows.star is a STAR file without any rows"),
    (
        "{0}/table.cs",
        "{0}/table.cs cannot be read as a numpy array: it does not begin with \\x93NUMPY, "
        "as .cs and .npy files do",
    ),
    (
        "{0}/word.star",
        "{0}/word.star: rlnImageName of row 0 is 'particles.mrcs', not NUMBER@STACK",
    ),
    (
        PARTICLES,
        "{0}/sim/particles.mrcs holds no poses; give them with --poses, or pass the .star or "
        ".cs file of a 3-D refinement",
    ),
    (
        "{0}/map.mrc",
        "{0}/map.mrc is a volume (16 × 16 × 16 voxels, space group 1 and mz 16 in its header), "
        "expected images; pass a stack of particles, or give the file a name that ends in "
        ".mrcs if it holds images after all",
    ),
    (
        "{0}/optimiser.star",
        "{0}/optimiser.star holds the settings of a refinement (optimiser.star), no particles; "
        "take Refine3D/job007/run_data.star, which it names",
    ),
    (
        "{0}/micrographs.star",
        "{0}/micrographs.star lists micrographs, no particles; extract the particles and take "
        "the particles.star of that job",
    ),
    (
        "{0}/tomo.star",
        "{0}/tomo.star lists particles of tomograms (rlnTomoSubtomogramRot), one row for many "
        "images; take the optimisation_set.star that RELION 5, WarpTools or M wrote beside 2-D "
        "stacks, or list the tilt images with cryodrgn_utils parse_relion, which cuts those of "
        "RELION 4 out",
    ),
    (
        "{0}/lfs.star",
        "{0}/lfs.star is a placeholder of git-LFS, not the file itself; fetch the file with "
        "git lfs pull",
    ),
    (
        "{0}/group.csg",
        "{0}/group.csg is a group file of cryoSPARC (.csg), which names tables; take "
        "J7_particles.cs beside it",
    ),
    (
        "{0}/csdat.cs",
        "{0}/csdat.cs is a table in cryoSPARC's format CSDAT, which is not read here; load it "
        "with Dataset.load of cryosparc-tools and save it, which writes numpy's format",
    ),
    (
        f"{PARTICLES} --poses {{0}}/missing.pkl",
        "{0}/missing.pkl does not exist; " + NEAR,
    ),
    (
        f"{PARTICLES} --poses {{0}}/folder.pkl",
        "{0}/folder.pkl is a folder, expected a file; no file in it has a name that cryodrgn "
        "reads",
    ),
    (
        f"{PARTICLES} --poses {{0}}/empty.pkl",
        "{0}/empty.pkl is empty (0 bytes): the program that wrote it was stopped, or it was "
        "not copied whole; write or copy it again",
    ),
    (
        f"{PARTICLES} --poses {{0}}/evil.pkl",
        "{0}/evil.pkl cannot be read as a pickle of numpy arrays: it asks for builtins.print",
    ),
    (
        f"{PARTICLES} --poses {{0}}/garbage.pkl",
        "{0}/garbage.pkl cannot be read as a pickle of numpy arrays: invalid literal for int() "
        "with base 10: b'arbag'",
    ),
    (f"{PARTICLES} --poses {{0}}/text.pkl", "{0}/text.pkl holds no array of numbers, but str"),
    (
        f"{PARTICLES} --poses {{0}}/flat.pkl",
        "{0}/flat.pkl holds no poses: expected arrays (N, 3, 3) and (N, 2), found [(24, 9), "
        "(24, 2)]",
    ),
    (
        f"{PARTICLES} --poses {{0}}/short_poses.pkl",
        "{0}/sim/particles.mrcs lists 24 particles, but {0}/short_poses.pkl has 5 rows; both "
        "must come from the same particle file",
    ),
    (
        f"{PARTICLES} --poses {{0}}/mirror.pkl",
        "{0}/mirror.pkl: the matrix of row 3 is no rotation",
    ),
    (
        f"{PARTICLES} --poses {{0}}/scaled.pkl",
        "{0}/scaled.pkl: the matrix of row 2 is no rotation",
    ),
    (
        f"{PARTICLES} --poses {{0}}/nan_poses.pkl",
        "{0}/nan_poses.pkl: the pose of row 4 is not finite",
    ),
    (
        f"{PARTICLES} --poses {{0}}/pixels.pkl",
        "{0}/pixels.pkl: shifts must be fractions of the box, but the largest is 7.00; they "
        "seem to be in pixels, parse the poses again",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/wide_ctf.pkl",
        "{0}/wide_ctf.pkl holds no CTF parameters: expected an array (N, 9), found (24, 8)",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/short_ctf.pkl",
        "{0}/sim/particles.mrcs lists 24 particles, but {0}/short_ctf.pkl has 5 rows; both "
        "must come from the same particle file",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/volts.pkl",
        "{0}/volts.pkl: voltage_kv of row 1 is 300000.0, expected between 10 and 5000 kV",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/no_volts.pkl",
        "{0}/no_volts.pkl: voltage_kv of row 1 is 0.0, expected between 10 and 5000 kV",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/contrast.pkl",
        "{0}/contrast.pkl: amplitude_contrast of row 2 is 1.5, expected in [0, 1)",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/defocus.pkl",
        "{0}/defocus.pkl: defocus_u of row 3 is 1000000000.0, expected between -1e+06 and "
        "1e+06 Å",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/nan_ctf.pkl",
        "{0}/nan_ctf.pkl: defocus_v of row 0 is nan, expected finite",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/cs.pkl",
        "{0}/cs.pkl: spherical_aberration_mm of row 5 is 27000000.0, expected between -50 and "
        "50 mm",
    ),
    (
        f"{PARTICLES} {POSES} --ctf {{0}}/no_size.pkl",
        "{0}/no_size.pkl: box size and pixel size must be positive in every row",
    ),
    (
        f"{PARTICLES} {POSES} --ind {{0}}/beyond.pkl",
        "{0}/beyond.pkl holds index 24, but {0}/sim/particles.mrcs has 24 particles (0 to 23)",
    ),
    (
        f"{PARTICLES} {POSES} --ind {{0}}/negative.pkl",
        "{0}/negative.pkl holds index -1, but {0}/sim/particles.mrcs has 24 particles (0 to "
        "23)",
    ),
    (f"{PARTICLES} {POSES} --ind {{0}}/none.pkl", "{0}/none.pkl selects no particles"),
    (
        f"{PARTICLES} {POSES} --ind {{0}}/floats.pkl",
        "{0}/floats.pkl holds no list of indices: expected a one-dimensional integer array, "
        "found shape (1,) of type float64; " + REMEDY,
    ),
    (
        f"{PARTICLES} {POSES} --ind {{0}}/table.pkl",
        "{0}/table.pkl holds no list of indices: expected a one-dimensional integer array, "
        "found shape (3, 2) of type int64; " + REMEDY,
    ),
    ("{0}/sim/particles.star --datadir {0}/nowhere", "--datadir {0}/nowhere is no folder"),
    (f"{PARTICLES} {POSES} -n 0", "-n must be at least 1, got 0"),
    (f"{PARTICLES} {POSES} -b 0", "-b must be at least 1, got 0"),
    (f"{PARTICLES} {POSES} --lr 0", "--lr must be positive, got 0.0"),
    (f"{PARTICLES} {POSES} --wd -1", "--wd must be zero or more, got -1.0"),
    (f"{PARTICLES} {POSES} --zdim 0", "--zdim must be at least 1, got 0"),
    (f"{PARTICLES} {POSES} --checkpoint 0", "--checkpoint must be at least 1, got 0"),
    (f"{PARTICLES} {POSES} --memory 0", "--memory must be positive, got 0.0"),
    (
        f"{PARTICLES} {POSES} --window-r 2",
        "--window-r must be between 0 and 0.99, got 2.0",
    ),
    (
        f"{PARTICLES} {POSES} --norm 0 0",
        "--norm must be a shift and a positive scale, got 0.0 0.0",
    ),
    (f"{PARTICLES} {POSES} --qdim 0", "--qdim must be at least 1, got 0"),
    (
        f"{PARTICLES} {POSES} --pdim 0",
        "--pdim must be at least 1, got 0",
    ),
    (
        f"{PARTICLES} {POSES} --enc-mask 99",
        "--enc-mask 99 must be a radius from 1 to 8 pixels, or -1 for no mask",
    ),
    (
        f"{PARTICLES} {POSES} --pdim 400000",
        f"{{0}}/out cannot be written: it needs 11.5 TB, but {{0}} has room for {SIZE}; make "
        "room there, or give another folder",
    ),
    (
        f"{PARTICLES} {POSES} --load {{0}}/missing.pkl",
        "{0}/missing.pkl does not exist; " + NEAR,
    ),
    (
        "--load latest",
        "{0}/out holds no run to resume; give the folder of a run with -o, or leave out --load "
        "to begin one",
    ),
]
OTHERS: list[tuple[str, str]] = [
    (
        "train_vae {0}/sim/particles.star -o {0}/out --zdim 2 --encode-mode nonsense --qdim 8",
        "there is no encoder 'nonsense'; known are resid, mlp, conv, tilt, tilt_series, "
        "subtomogram, linear+resid",
    ),
    (
        "backproject_voxel {0}/sim/particles.star -o {0}/S.star",
        "-o {0}/S.star must be a volume (.mrc), beside which half maps and FSC are written, or "
        "a folder for all of them",
    ),
    (
        "backproject_voxel {0}/sim/particles.star -o {0}/sim/particles.star/maps",
        "{0}/sim/particles.star/maps cannot be written: {0}/sim/particles.star is a file; give "
        "a folder",
    ),
    (
        "simulate -D 16 --Apix 1 -o {0}/out",
        "the molecule is 160 Å across, but the box only 16 Å (16 px of 1 Å); enlarge -D or "
        "--Apix",
    ),
    (
        "downsample {0}/map.mrc -D 8 -o {0}/out/x.mrcs",
        "{0}/map.mrc is a volume (16 × 16 × 16 voxels, space group 1 and mz 16 in its header), "
        "expected images; add --is-vol, or give the file a name that ends in .mrcs if it holds "
        "images after all",
    ),
    (
        "parse_pose_star {0}/model.star -o {0}/out/x.pkl",
        "{0}/model.star describes the maps of a refinement (model.star), no particles; take "
        "the data file of the same iteration (run_data.star, run_itNNN_data.star)",
    ),
    (
        "parse_pose_star {0}/job.star -o {0}/out/x.pkl",
        "{0}/job.star holds the settings of a job (job.star), no particles; take a particle "
        "file that the job wrote",
    ),
    (
        "parse_pose_star {0}/volumes_3d.star -D 16 -o {0}/out/x.pkl",
        "{0}/volumes_3d.star lists particles of tomograms (rlnImageDimensionality 3), one row "
        "for many images; export the particles as 2-D stacks of their tilt images (WarpTools "
        "ts_export_particles --2d, M, or RELION 5) and take the optimisation_set.star beside "
        "them",
    ),
    (
        "parse_ctf_star {0}/cistem.star -o {0}/out/x.pkl",
        "{0}/cistem.star is a table of cisTEM without images, angles, shifts, defocus, pixel "
        "size, voltage, spherical aberration, amplitude contrast, which names none of its "
        "columns as RELION does (rlnImageName, …); export the refinement package from cisTEM "
        "in RELION's format and pass that file",
    ),
    (
        "parse_ctf_star {0}/page.star -o {0}/out/x.pkl",
        "{0}/page.star is a web page (HTML), such as a login or error page saved in place of "
        "the file; download the file again",
    ),
    (
        "parse_pose_csparc {0}/volumes.cs -o {0}/out/x.pkl",
        "{0}/volumes.cs lists 2 volumes (map), no particles; take the particles file of that "
        "job (…particles.cs)",
    ),
    (
        "parse_ctf_csparc {0}/group.csg -o {0}/out/x.pkl",
        "{0}/group.csg is a group file of cryoSPARC (.csg), which names tables; take "
        "J7_particles.cs beside it",
    ),
    (
        "downsample {0}/sim/particles.mrcs -D 15 -o {0}/out/x.mrcs",
        "-D must be even and at least 2, got 15",
    ),
    (
        "downsample {0}/sim/particles.mrcs -D 8 -o {0}/out/x.png",
        "-o {0}/out/x.png must end in .mrc or .mrcs or .star or .txt",
    ),
    (
        "downsample {0}/sim/particles.mrcs -D 8 --chunk 0 -o {0}/out/x.mrcs",
        "--chunk must be at least 1, got 0",
    ),
    (
        "downsample {0}/sim/particles.mrcs -D 8 --is-vol -o {0}/out/x.mrc",
        "{0}/sim/particles.mrcs is no cubic volume: 24 × 16 × 16; give a map, not images",
    ),
    (
        "parse_pose_star {0}/sim/particles.star -D 99 -o {0}/out/x.pkl",
        "-D 99 contradicts {0}/sim/particles.star, whose images have 16 pixels; leave out -D, "
        "or pass the file that belongs to the other box",
    ),
    (
        "parse_ctf_star {0}/sim/particles.star --Apix 3 -o {0}/out/x.pkl",
        "--Apix 3 contradicts {0}/sim/particles.star, which says 12 Å/px; leave out --Apix, or "
        "pass the file that belongs to the other pixel size",
    ),
    (
        "backproject_voxel {0}/no_kv.star -o {0}/out/x.mrc",
        "{0}/no_kv.star has no column rlnVoltage; give the value with cryodrgn parse_ctf_star "
        "--kv; give its output with --ctf",
    ),
    (
        "parse_ctf_star {0}/no_kv.star -o {0}/out/x.pkl",
        "{0}/no_kv.star has no column rlnVoltage; give the value with cryodrgn parse_ctf_star "
        "--kv",
    ),
    (
        "backproject_voxel {0}/sim/particles.star --first 0 -o {0}/out/x.mrc",
        "--first must be at least 1, got 0",
    ),
    (
        "eval_vol {0}/weights.pkl -o {0}/out/x.mrc -z 0 --Apix 0",
        "--Apix must be positive, got 0.0",
    ),
    (
        "parse_pose_star {0}/missing.star -o {0}/out/x.pkl",
        "{0}/missing.star does not exist; " + NEAR,
    ),
    (
        "backproject_voxel {0}/zero.mrcs --poses {0}/sim/poses.pkl -o {0}/out/x.mrc",
        "{0}/zero.mrcs: 24 of 24 images screened cannot be used (rows 0, 1, 2, 3, 4, 5, 6, 7, "
        "8, 9 and more; why is in {0}/out/screened.csv), which is more than 5%; find out what "
        "went wrong, or choose others with --ind",
    ),
    (
        "eval_vol {0}/missing.pkl -z 0 -o {0}/out/x.mrc",
        "{0}/missing.pkl does not exist; " + NEAR,
    ),
    (
        "analyze {0}/sim 0",
        "{0}/sim is no folder of a training run: it has no config.yaml or config.pkl",
    ),
    (
        "train_vae {0}/sim/particles.star --zdim 2 --device nonsense -o {0}/out",
        "device 'nonsense' cannot be used (none has that name); try --device auto or cpu",
    ),
]


def lines() -> list[tuple[str, str]]:
    """Every line without the program's name, and its sentence."""
    return [
        (
            f"train_vae {rest} {TRAIN}"
            if "-n " not in rest and "--zdim" not in rest
            else f"train_vae {rest} -o {{0}}/out" + ("" if "--zdim" in rest else " --zdim 2"),
            sentence,
        )
        for rest, sentence in TRAINING
    ] + OTHERS
