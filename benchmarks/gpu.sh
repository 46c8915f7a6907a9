#!/bin/sh
# Everything that docs/performance.md wants to know of a card, in one command of at most 8 minutes:
#
#   benchmarks/gpu.sh                        all sections, into the folder gpu-figures
#   benchmarks/gpu.sh table profile          some of them (data whole linear search profile
#                                            decoding sums table suite)
#   benchmarks/gpu.sh long                   20 epochs of 100,000 particles and their report
#   DEVICE=cpu SMALL=1 benchmarks/gpu.sh     the same on a processor at toy sizes, to try the script
#
# It builds nothing and needs no network: Python >= 3.11 and PyTorch >= 2.9 as found. Where other
# libraries are missing, WHEELS names a folder of wheels, which go into the folder of the figures.
#
# Results: gpu.json and gpu.md in the folder, with a line of reason for whatever could not be measured.
# PYTHON, DEVICE (cuda), SMALL, FIGURES (the folder), WHEELS and BUDGET (seconds, 470; 3600 with SMALL) may be set.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
figures=${FIGURES:-gpu-figures}
mkdir -p "$figures"
figures=$(cd "$figures" && pwd)
path=$here/../src
if [ -n "${WHEELS:-}" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$figures/wheels" "$WHEELS"/*.whl
    path=$path:$figures/wheels
fi
PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
[ -n "${BUDGET:-}" ] || BUDGET=${SMALL:+3600}
exec "$python" "$here/gpu.py" --figures "$figures" --device "${DEVICE:-cuda}" \
    --budget "${BUDGET:-470}" ${SMALL:+--small} "$@"
