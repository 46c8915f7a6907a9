"""The commands of both console scripts, by topic, in the order of a project."""

from collections.abc import Mapping

COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Prepare particles": {
        "downsample": "Downsample an image stack or volume by clipping Fourier frequencies",
        "parse_pose_star": "Parse image poses from a RELION .star file",
        "parse_pose_csparc": "Parse image poses from a cryoSPARC .cs file",
        "parse_ctf_star": "Parse CTF parameters from a RELION .star file",
        "parse_ctf_csparc": "Parse CTF parameters from a cryoSPARC .cs file",
    },
    "Check particles, poses and CTF": {
        "check": "Check whether poses, CTF and sign of a particle file fit its images",
        "backproject_voxel": "Backproject images onto a voxel grid to check poses and CTF",
    },
    "All steps at once": {
        "run": "From a particle file to a report: check, train and analyze",
        "demo": "Show the whole way on simulated particles, to a moving molecule",
    },
    "Train with known poses": {
        "train_vae": "Train a VAE for heterogeneous reconstruction with known pose",
        "train_dec": "Train a decoder with a free latent for every particle (auto-decoder)",
        "train_nn": "Train a neural net to model a 3D EM density map",
        "train_linear": "Find the components of heterogeneity by a linear model, in seconds",
    },
    "Find poses": {
        "abinit": "Ab initio reconstruction of a structure and the poses of its images",
        "abinit_homo": "Ab initio reconstruction of a single structure, from images and CTF",
        "abinit_het": "Ab initio reconstruction with a latent: poses, latents and volumes",
    },
    "Look at a run": {
        "analyze": "Look at a run: volumes, plots, a page, a notebook",
        "analyze_landscape": "Compare volumes of a run: their components and states",
        "analyze_landscape_full": "Map every particle into the landscape of volumes",
        "nuisance": "Report what latents follow besides structure: poses, contrast, optics",
        "conformational_density": "Estimate how many particles are in which conformation",
    },
    "Volumes and latents of a run": {
        "eval_vol": "Generate volumes from a trained model",
        "reconstruct_states": "Reconstruct states of any latent from images, with half maps",
        "eval_images": "Evaluate the latents and losses of images under a trained model",
        "pc_traversal": "Points of the latent space along its principal components",
        "direct_traversal": "Points of the latent space on straight lines between particles",
        "graph_traversal": "Points of the latent space along neighbouring particles",
    },
    "Choose particles and go on elsewhere": {
        "select": "Choose particles by cluster, place in the latent space, lists, or chance",
        "export": "Write chosen particles back as a RELION .star or a cryoSPARC result group",
    },
    "Simulated data and this machine": {
        "simulate": "Simulate particles from volumes, atomic models or a built-in molecule",
        "benchmark": "Measure how fast this machine trains, prepares, reconstructs and decodes",
        "doctor": "Report what is installed, which limits hold, and what is wrong",
    },
}
# Where the settings and the work of a command are declared: module of ``jobs``, and class.
JOBS: Mapping[str, str] = {
    "downsample": "downsample:Downsample",
    "backproject_voxel": "backproject:Backproject",
    "eval_vol": "eval_vol:EvalVol",
    "eval_images": "eval_images:EvalImages",
    "analyze": "analyze:Analyze",
    "analyze_landscape": "analyze:AnalyzeLandscape",
    "analyze_landscape_full": "analyze:AnalyzeLandscapeFull",
    "reconstruct_states": "reconstruct_states:ReconstructStates",
    "export": "export:Export",
    "simulate": "simulate:Simulate",
    "select": "select:Select",
    "run": "run:RunAll",
    "demo": "demo:Demo",
    "parse_pose_star": "parse:ParsePoseStar",
    "parse_pose_csparc": "parse:ParsePoseCsparc",
    "parse_ctf_star": "parse:ParseCtfStar",
    "parse_ctf_csparc": "parse:ParseCtfCsparc",
    "check": "check:Check",
    "train_vae": "train_vae:TrainVae",
    "train_dec": "train_dec:TrainDec",
    "train_nn": "train_nn:TrainNn",
    "train_linear": "train_linear:TrainLinear",
    "abinit": "abinit:Abinit",
    "abinit_homo": "abinit:AbinitHomo",
    "abinit_het": "abinit:AbinitHet",
    "nuisance": "nuisance:Nuisance",
    "conformational_density": "conformational_density:ConformationalDensity",
    "pc_traversal": "traversals:PcTraversal",
    "direct_traversal": "traversals:DirectTraversal",
    "graph_traversal": "traversals:GraphTraversal",
    "benchmark": "machine:Benchmark",
    "doctor": "machine:Doctor",
}
# Names under which the documentation of 0.2.0 runs the same commands as scripts, and under
# which 4.x keeps its older searches for poses.
ALIASES: Mapping[str, str] = {
    "eval_decoder": "eval_vol",
    "get_z_pcs": "pc_traversal",
    "abinit_homo_old": "abinit_homo",
    "abinit_het_old": "abinit_het",
}
TOOLS: Mapping[str, Mapping[str, str]] = {
    "Particle stacks": {
        "view_mrcs": "Show the first images of a particle stack",
        "view_header": "Show the header of an MRC file",
        "view_cs_header": "Show the columns of a cryoSPARC .cs file",
        "phase_flip": "Correct the phases of a particle stack for its CTF",
        "translate_mrcs": "Shift the images of a particle stack",
        "add_noise": "Add white noise to a particle stack",
    },
    "Choose and join particles": {
        "filter_mrcs": "Take some images out of a particle stack",
        "filter_star": "Take some particles out of a RELION .star file",
        "filter_cs": "Take some particles out of a cryoSPARC .cs file",
        "filter_pkl": "Take some rows out of a pickle of poses, CTF parameters or latents",
        "concat_pkls": "Join pickles of arrays or poses",
        "select_clusters": "Indices of the particles in some clusters",
        "select_random": "Indices of some particles chosen at random",
        "write_star": "Write a RELION .star file of a particle stack",
    },
    "Volumes": {
        "add_psize": "Write the pixel size into the header of a volume or stack",
        "flip_hand": "Mirror a volume, which changes its hand",
        "invert_contrast": "Change the sign of a volume or stack",
        "gen_mask": "Make a soft mask from a volume",
        "fsc": "Fourier shell correlation of two volumes",
        "plot_fsc": "Plot Fourier shell correlations",
        "align3d": "Align one volume to another",
        "align_poses": "Bring poses and their map into the frame of other poses",
        "project3d": "Project a volume in many directions",
    },
    "Runs and latents": {
        "plot_loss": "Plot the learning curves of training runs",
        "kmeans": "Divide particles into clusters of their latents",
        "run_umap": "Map a latent into the plane by UMAP",
        "tsne": "Map a latent into the plane by t-SNE",
        "plot_z1": "Plot a latent of one dimension",
        "plot_z2": "Plot a latent of two dimensions",
        "plot_z_pca": "Plot a latent along its first two principal components",
        "clean": "Delete the checkpoints of a training run that are not needed any more",
    },
}
# Names of the scripts of 0.2.0, and of later versions where they changed.
TOOL_ALIASES: Mapping[str, str] = {
    "plotfsc": "plot_fsc",
    "translate_stack": "translate_mrcs",
    "view_stack": "view_mrcs",
    "write_cs": "filter_cs",
}
