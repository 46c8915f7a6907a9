#!/bin/sh
# What docs/performance.md wants to know of a GPU. Builds nothing, downloads nothing.
#
#   benchmarks/gpu.sh          the table of training steps and what is around them; below 10 minutes
#   benchmarks/gpu.sh whole    a complete run, 100,000 simulated particles of 128 px and 20 epochs,
#                              from the command line to the report; simulating them is not timed
#
# PYTHON, DEVICE, BOXES, WIDTHS, BATCHES, SECONDS_EACH and IMAGES in the environment change what is
# run; results go to the folder gpu-figures, or to what FIGURES names.
set -eu
python=${PYTHON:-python}
device=${DEVICE:-cuda}
folder=${FIGURES:-gpu-figures}
mkdir -p "$folder"

table() {
    # shellcheck disable=SC2086 # lists of numbers are meant to be split
    timeout 580 "$python" -m cryodrgn benchmark --device "$device" --boxes ${BOXES:-64 128 256} \
        --widths ${WIDTHS:-256 1024} --batches ${BATCHES:-8 64 256} --seconds "${SECONDS_EACH:-2}" \
        --json "$folder/benchmark.json" | tee "$folder/benchmark.txt"
}

whole() {
    data=$folder/particles
    if [ ! -f "$data/particles.star" ]; then
        "$python" -m cryodrgn simulate -D 128 --Apix 2 -n "${IMAGES:-100000}" --snr 0.1 \
            --num-states 20 --seed 0 -o "$data"
    fi
    started=$(date +%s)
    "$python" -m cryodrgn train_vae "$data/particles.star" --zdim 8 -n 20 -b 64 --device "$device" \
        --checkpoint 5 --overwrite -o "$folder/run"
    "$python" -m cryodrgn analyze "$folder/run" -1 --device "$device"
    echo "whole run: $(($(date +%s) - started)) s" | tee "$folder/whole.txt"
}

case ${1:-table} in
    table | whole) "${1:-table}" ;;
    *) echo "benchmarks/gpu.sh: '$1' is neither table nor whole" >&2; exit 2 ;;
esac
