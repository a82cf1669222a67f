#!/usr/bin/env bash
# Make a peer's own environment: benchmarks/peers/setup.sh nnsight | transformer-lens | sparsify | sae-lens
# It lies in ~/.cache/patchclamp/peers/NAME, or $PATCHCLAMP_PEERS/NAME. PYTHON chooses the interpreter.
set -euo pipefail

TORCH=2.13.0
name=${1:-}
case "$name" in
    nnsight) package=nnsight==0.8.1 ;;
    transformer-lens) package=transformer-lens==4.3.0 ;;
    sparsify) package=eai-sparsify==1.3.3 ;;
    sae-lens) package=sae-lens==6.54.12 ;;
    *)
        echo "usage: $0 nnsight | transformer-lens | sparsify | sae-lens" >&2
        exit 2
        ;;
esac

folder=${PATCHCLAMP_PEERS:-$HOME/.cache/patchclamp/peers}/$name
mkdir -p "$(dirname "$folder")"
"${PYTHON:-python3}" -m venv "$folder"

# A torchvision beside a CPU build of torch breaks the import of transformers: rather no environment than such a one.
forbid=$(mktemp)
trap 'rm -f "$forbid"' EXIT
echo 'torchvision<0' > "$forbid"
"$folder/bin/python" -m pip install -q --disable-pip-version-check -c "$forbid" "torch==$TORCH" "$package"
"$folder/bin/python" -m pip freeze > "$folder/versions.txt"
echo "$folder: $package, $(wc -l < "$folder/versions.txt") packages"
