#!/usr/bin/env bash
# Measures training steps, encoding and decoding on this machine's GPU, in under ten minutes.
#
#   tools/gpu_report.sh [--output DIR] [--against SIGN_VQ_CHECKOUT --python TORCH_PYTHON] \
#       [--minutes 9] [--steps 10] [--tiny]
#
#   --output    where the measurements go (default runs/gpu_report)
#   --against   sign-vq's code, for its step on the same GPU; --python has torch and
#               vector-quantize-pytorch (without them, the report is ours alone)
#   --minutes   after so many no further part begins
#   --steps     timed steps of each part
#   --tiny      small shapes, to try this script on a CPU
#
# A part is one config in one precision, in DIR/PART.txt. What a part measures is shown at once, a
# part that fails or runs out of time is named, and the others go on. The same command goes on with
# those parts. No network is needed, and no installation of jaxvq: `python3`, or what PYTHON names,
# needs jax[cuda13], flax, optax, ml_collections, absl-py and pyyaml.
set -uo pipefail

fail() {
  echo "error: $*" >&2
  exit 2
}

usage() { sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; }

output=runs/gpu_report against="" python="" minutes=9 steps=10 tiny=""
while (($#)); do
  [[ $1 == --*=* ]] && set -- "${1%%=*}" "${1#*=}" "${@:2}"
  case $1 in
    --output | --against | --python | --minutes | --steps)
      (($# > 1)) || fail "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    --tiny)
      tiny=1
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) fail "unknown argument $1; see --help" ;;
  esac
done
for option in minutes steps; do
  [[ ${!option} =~ ^[1-9][0-9]*$ ]] || fail "--$option ${!option}: expected 1 or more"
done
[[ -z $against || -n $python ]] || fail "--against needs --python, that of a PyTorch environment"
[[ -z $against || -f $against/sign_vq/model.py ]] || fail "--against $against: no sign_vq/model.py"

# Paths are those of the folder where this command was typed. A virtual environment's Python is a
# link that has to stay one.
run=$(command -v "${PYTHON:-python3}") || fail "PYTHON ${PYTHON:-python3}: not found"
run=$(realpath -s "$run") output=$(realpath -m "$output")
[[ -z $against ]] || against=$(realpath "$against")
[[ -z $python ]] || python=$(command -v "$python") || fail "--python: not found"
[[ -z $python ]] || python=$(realpath -s "$python")
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
mkdir -p "$output" || fail "--output $output: cannot be made"
started=$SECONDS

needs="import absl, flax, jax, ml_collections, optax, yaml"
lacks=$("$run" -c "$needs" 2>&1) || fail "$run cannot run jaxvq: ${lacks##*$'\n'}; see --help"
kind=$("$run" -c "import jax; print(jax.default_backend())" 2>/dev/null)
[[ -n $tiny || $kind == gpu ]] || fail "JAX finds no GPU here ($kind); --tiny tries this script on a CPU"
if [[ -n $against ]]; then
  lacks=$("$python" -c "import torch, vector_quantize_pytorch" 2>&1) || {
    echo "sign-vq's step is left out: $python: ${lacks##*$'\n'}" >&2
    against=""
  }
fi
beside=""
if [[ -n $against ]]; then
  beside=-beside-theirs
  # JAX would take three quarters of the GPU's memory, and PyTorch needs its share.
  export XLA_PYTHON_CLIENT_PREALLOCATE=false
fi

number=0 total=13 missing=()

# part NAME SECONDS FLAGS…: runs one benchmark, unless it is there already or time is over.
part() {
  local name=$1 limit=$2 code left=$((minutes * 60 - (SECONDS - started)))
  shift 2
  number=$((number + 1))
  [[ -s $output/$name.txt ]] && return
  if ((left < 20)); then
    missing+=("$name (no time left)")
    return
  fi
  limit=$((left < limit ? left : limit))
  echo "== $number of $total: $name, $((SECONDS - started)) s so far, at most $limit s more"
  timeout "$limit" "$run" -u -m tools.benchmark_step \
    --steps "$steps" "$@" 2>"$output/$name.log" | tee "$output/$name.part"
  code=${PIPESTATUS[0]}
  if ((code == 0)); then
    mv "$output/$name.part" "$output/$name.txt"
    rm "$output/$name.log"
  elif ((code == 124)); then
    missing+=("$name (stopped after $limit s)")
  else
    missing+=("$name ($(tail -n 1 "$output/$name.log"))")
  fi
}

hands=(--skeleton holistic_178)
default=(--config fsq_pose "${hands[@]}")
frames=(--config fsq_pose:frames "${hands[@]}")
# 32 rows: by the compiler's count, 64 take 55 GiB of the GPU, and sign-vq's need room beside them.
sign_vq=(--config fsq_pose:sign_vq --config.batch_size=32 "${hands[@]}")
stgcn=(--config stgcn_rvq:default)
if [[ -n $tiny ]]; then
  small=(--config.batch_size=2 --config.data.seq_len=64 --config.model.num_layers=1
    --config.model.hidden_dim=32)
  blocks=("${small[@]}" --config.model.num_heads=2 --config.model.ff_dim=32)
  default+=("${blocks[@]}")
  frames+=("${blocks[@]}")
  sign_vq+=("${blocks[@]}")
  stgcn+=("${small[@]}" --config.model.decoder_layers=1 --config.model.graph_dim=8)
fi
theirs=()
[[ -z $against ]] || theirs=(--against "$against" --python "$python")

# What matters most comes first. An empty array needs care in old versions of bash.
part "sign_vq-float32$beside" 100 "${sign_vq[@]}" --precision float32 ${theirs[@]+"${theirs[@]}"}
part "sign_vq-tf32$beside" 100 "${sign_vq[@]}" --precision tf32 ${theirs[@]+"${theirs[@]}"}
compiled=()
[[ -z $against ]] || compiled=(--compile)
part "sign_vq-bfloat16$beside" 150 "${sign_vq[@]}" --precision bfloat16 \
  ${theirs[@]+"${theirs[@]}"} ${compiled[@]+"${compiled[@]}"}
part frames-bfloat16 100 "${frames[@]}" --precision bfloat16 --encode --profile 25
# Only without dropout is cuDNN's attention used in training, too.
part frames-bfloat16-no-dropout 100 "${frames[@]}" --precision bfloat16 --config.model.dropout=0
part default-bfloat16 150 "${default[@]}" --precision bfloat16 --encode --profile 25
part stgcn-bfloat16 100 "${stgcn[@]}" --precision bfloat16 --encode --profile 25
for precision in tf32 float32; do
  part "frames-$precision" 100 "${frames[@]}" --precision "$precision"
  part "default-$precision" 150 "${default[@]}" --precision "$precision" --encode
  part "stgcn-$precision" 100 "${stgcn[@]}" --precision "$precision"
done

echo "== after $((SECONDS - started)) s: $((total - ${#missing[@]})) of $total parts in $output"
for name in ${missing[@]+"${missing[@]}"}; do
  echo "missing: $name" >&2
done
[[ -z ${missing[*]+x} ]] || echo "the same command goes on with what is missing" >&2
((${#missing[@]} == 0))
