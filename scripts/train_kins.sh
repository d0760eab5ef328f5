#!/usr/bin/env bash
# Train all that configs/kins/benchmark.yaml compares, then compare it: from KINS in data/kins to the report.
# With --small the KINS-like set is made first, and configs/kins/*_small.yaml are trained: two hours on 2 CPU cores.
# Stopped half way, it goes on where it stood when it is called again.
#   data/kins/update_train_2020.json, update_test_2020.json, training/image_2/*.png, testing/image_2/*.png
#   data/weights/resnet50.safetensors    (docs/rcnn.md says how to make it)
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=PASSIVE
run() { .venv/bin/shape3d-amodal "$@"; }
train() { for name; do run train "configs/kins/$name.yaml"; done; }

case "$*" in "" | --small) ;; *) echo "error: expected --small or nothing, got $*" >&2; exit 2 ;; esac
[ -x .venv/bin/shape3d-amodal ] || { echo "error: there is no .venv; run bash scripts/setup.sh first" >&2; exit 2; }
if [ "${1:-}" = --small ]; then
    for split in train:1600:1 val:100:2 test:300:3; do
        IFS=: read -r name count seed <<< "$split"
        set=outputs/kins_like/$name
        [ -e "$set/update_train_2020.json" ] ||
            run scenes --layout kins --meshes "open13:$name" --count "$count" --seed "$seed" --out "$set"
    done
    train shape_prior_small completion2d_small refinement_small refinement_visible_small  # ours
    train unet2d_small pcnet_m_small mask_rcnn_small orcnn_small asn_small
    run benchmark configs/kins/benchmark_small.yaml
else
    for file in data/kins/{update_{train,test}_2020.json,{training,testing}/image_2} data/weights/resnet50.safetensors; do
        [ -e "$file" ] || { echo "error: $file is missing; the top of $0 lists what must be there" >&2; exit 2; }
    done
    found=outputs/kins/train.json
    rm -f "$found"  # of an earlier run
    if ! run data validate data/kins/update_train_2020.json --images data/kins/training/image_2 --published kins-train \
        --out "$found"; then
        [ -e "$found" ] || exit 1  # it could not be read, which has been said
        echo "learning from the file in spite of its errors, which $found lists"
    fi
    train shape_prior completion2d refinement refinement_visible end_to_end  # ours
    train unet2d pcnet_m c2f_codebook c2f_seg
    train mask_rcnn panet orcnn asn asn_panet arcnn arcnn_add bcnet vrsp_shapes vrsp aisformer imle
    run benchmark configs/kins/benchmark.yaml
fi
