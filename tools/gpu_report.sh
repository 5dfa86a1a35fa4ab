#!/usr/bin/env bash
# Measures training steps, encoding and decoding on this machine's GPU, in under ten minutes.
#
#   tools/gpu_report.sh [--output DIR] [--against SIGN_VQ_CHECKOUT --python TORCH_PYTHON] \
#       [--minutes 9] [--steps 10] [--tiny]
#
#   --output    where the measurements go (default runs/gpu_report)
#   --against   sign-vq's code, for its step on the same GPU; --python has PyTorch
#   --minutes   after so many no further part begins
#   --steps     timed steps of each part
#   --tiny      small shapes, to try this script on a CPU
#
# A part is one config in one precision, in DIR/PART.txt. The same command goes on with the parts
# that are missing or failed. No network is needed. PYTHON names another python than `python3`.
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

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
mkdir -p "$output" || fail "--output $output: cannot be made"
started=$SECONDS

# part NAME SECONDS FLAGS…: runs one benchmark, unless it is there already or time is over.
part() {
  local name=$1 limit=$2 left
  shift 2
  [[ -s $output/$name.txt ]] && return
  left=$((minutes * 60 - (SECONDS - started)))
  if ((left < 20)); then
    echo "$name: no time left; the same command goes on here" >&2
    return
  fi
  echo "== $name"
  timeout $((left < limit ? left : limit)) "${PYTHON:-python3}" -m tools.benchmark_step \
    --steps "$steps" "$@" >"$output/$name.part" 2>"$output/$name.log"
  local code=$?
  if ((code == 0)); then
    mv "$output/$name.part" "$output/$name.txt"
    rm "$output/$name.log"
    cat "$output/$name.txt"
  elif ((code == 124)); then
    echo "$name: stopped after its time" >&2
  else
    tail -n 1 "$output/$name.log" >&2
  fi
}

hands=(--skeleton holistic_178)
default=(--config fsq_pose "${hands[@]}")
frames=(--config fsq_pose:frames "${hands[@]}")
sign_vq=(--config fsq_pose:sign_vq --config.batch_size=64 "${hands[@]}")
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
part sign_vq-float32 90 "${sign_vq[@]}" --precision float32 ${theirs[@]+"${theirs[@]}"}
part sign_vq-tf32 90 "${sign_vq[@]}" --precision tf32 ${theirs[@]+"${theirs[@]}"}
compiled=()
[[ -z $against ]] || compiled=(--compile)
part sign_vq-bfloat16 120 "${sign_vq[@]}" --precision bfloat16 \
  ${theirs[@]+"${theirs[@]}"} ${compiled[@]+"${compiled[@]}"}
part frames-bfloat16 60 "${frames[@]}" --precision bfloat16 --encode --profile 25
part default-bfloat16 60 "${default[@]}" --precision bfloat16 --encode --profile 25
part stgcn-bfloat16 60 "${stgcn[@]}" --precision bfloat16 --encode --profile 25
for precision in tf32 float32; do
  part "frames-$precision" 60 "${frames[@]}" --precision "$precision"
  part "default-$precision" 60 "${default[@]}" --precision "$precision" --encode
  part "stgcn-$precision" 60 "${stgcn[@]}" --precision "$precision"
done

total=12 there=$(find "$output" -name '*.txt' | wc -l)
echo "$there of $total parts in $output"
((there == total))
