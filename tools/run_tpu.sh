#!/usr/bin/env bash
# Trains on a TPU VM of one or many hosts until the training is finished, through preemptions.
#
#   tools/run_tpu.sh --name NAME --zone ZONE --type v5litepod-16 --bucket gs://BUCKET \
#       --data gs://BUCKET/DATA --run RUN [--spot] [--project P] [--runtime R] [--retries N] \
#       [--dry_run] -- --config configs/fsq_pose.py [--config.FIELD VALUE …]
#
#   --name, --zone, --type   of the TPU VM; one that is there and ready is used as it is
#   --bucket   holds what has to outlive the VM; every host mounts it at ~/bucket (gcsfuse)
#   --data     the built dataset, in a bucket: copied to the disk of every host
#   --run      the run; its folder is ~/bucket/runs/RUN, and the same command continues it
#   --spot     cheaper, and may be taken away: then another one is made, and training continues
#   --runtime  image of the VM (default: v2-alpha-tpuv5-lite)
#   --retries  how many VMs and starts are tried without success (default: 100)
#   --dry_run  prints every command and runs none
#
# What follows -- goes to jaxvq train on every host, with --distributed, --workdir and
# --config.data.dir. Needs gcloud, logged in. The code is the last commit of this checkout. Logs of
# all hosts come to the screen, and stay in ~/bucket/runs/RUN/logs. The VM stays: delete it when done.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 2
}

usage() { sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; }

name="" zone="" type="" bucket="" data="" run="" project="" runtime="v2-alpha-tpuv5-lite"
retries=100 spot="" dry_run="" train=()
while (($#)); do
  case $1 in
    --name | --zone | --type | --bucket | --data | --run | --project | --runtime | --retries)
      (($# > 1)) || fail "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    --spot)
      spot=1
      shift
      ;;
    --dry_run | --dry-run)
      dry_run=1
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    --)
      shift
      train=("$@")
      break
      ;;
    *) fail "unknown argument $1; see --help" ;;
  esac
done
for option in name zone type bucket data run; do
  [[ -n ${!option} ]] || fail "give --$option; see --help"
done
[[ $bucket == gs://?* && $bucket != gs://*/* ]] || fail "--bucket $bucket: expected gs://BUCKET"
[[ $data == gs://?* ]] || fail "--data $data: expected gs://BUCKET/FOLDER"
[[ $run =~ ^[A-Za-z0-9._-]+$ ]] || fail "--run $run: letters, digits, '.', '_' and '-' only"
[[ $retries =~ ^[0-9]+$ ]] || fail "--retries $retries: expected a number"
[[ " ${train[*]-} " == *" --config"[\ =]* ]] || fail "after --, give --config FILE for the training"
[[ -n $dry_run ]] || command -v gcloud >/dev/null || fail "gcloud is not installed"

where=(--zone "$zone")
if [[ -n $project ]]; then where+=(--project "$project"); fi
vm=(gcloud compute tpus tpu-vm)
wait_seconds="${JAXVQ_WAIT_SECONDS:-60}"

do_it() { # prints a command so that it can be pasted, and runs it
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  [[ -n $dry_run ]] || "$@"
}

on_all_hosts() { do_it "${vm[@]}" ssh "$name" "${where[@]}" --worker all --command "$1"; }

state() { # READY, PREEMPTED, …; ABSENT without such a VM
  if [[ -n $dry_run ]]; then
    echo ABSENT
  else
    "${vm[@]}" describe "$name" "${where[@]}" --format "value(state)" 2>/dev/null || echo ABSENT
  fi
}

make_vm() {
  local now
  now=$(state)
  case $now in
    READY) echo "using the TPU VM $name, which is ready" ;;
    ABSENT) create ;;
    CREATING | STARTING | REPAIRING | RESTARTING) return 1 ;; # wait for it
    *)
      echo "the TPU VM $name is $now: making another one"
      do_it "${vm[@]}" delete "$name" "${where[@]}" --quiet && create
      ;;
  esac
}

create() {
  local words=("${vm[@]}" create "$name" "${where[@]}" --accelerator-type "$type" --version "$runtime")
  if [[ -n $spot ]]; then words+=(--spot); fi
  do_it "${words[@]}"
}

# What runs on the hosts: their shell expands these, not ours.
# shellcheck disable=SC2016
prepare_host() {
  cat <<END
set -e
mkdir -p ~/jaxvq ~/bucket ~/data
tar -xzf ~/jaxvq.tgz -C ~/jaxvq
command -v gcsfuse >/dev/null || {
  . /etc/os-release
  curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee /usr/share/keyrings/cloud.google.asc >/dev/null
  echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc] https://packages.cloud.google.com/apt gcsfuse-\$VERSION_CODENAME main" | sudo tee /etc/apt/sources.list.d/gcsfuse.list
  sudo apt-get update -q && sudo apt-get install -qy gcsfuse
}
mountpoint -q ~/bucket || gcsfuse --implicit-dirs --rename-dir-limit 100000 ${bucket#gs://} ~/bucket
python3 -m pip install --quiet --user uv
[ -x ~/venv/bin/python ] || python3 -m uv venv --quiet --python 3.12 ~/venv
VIRTUAL_ENV=~/venv python3 -m uv pip install --quiet -e "\$HOME/jaxvq[tpu]"
gcloud storage rsync --recursive ${data%/} ~/data
mkdir -p ~/bucket/runs/$run/logs
END
}

# Waits for what an earlier start may have left: hosts that lost another one end within a minute.
host_command() {
  local words
  words=$(printf ' %q' "${train[@]}")
  cat <<END
export PYTHON=~/venv/bin/python JAXVQ_EXIT_FILE=~/jaxvq.exit
rm -f ~/jaxvq.exit
set -o pipefail
flock -w 120 ~/jaxvq.lock ~/jaxvq/tools/train_host.sh --distributed --workdir ~/bucket/runs/$run --config.data.dir ~/data$words 2>&1 | tee -a ~/bucket/runs/$run/logs/\$(hostname).log
END
}

prepare() {
  local archive
  archive="${TMPDIR:-/tmp}/jaxvq-$name.tgz"
  do_it git -C "$(dirname "${BASH_SOURCE[0]}")/.." archive --format tgz --output "$archive" HEAD &&
    do_it "${vm[@]}" scp "$archive" "$name:jaxvq.tgz" "${where[@]}" --worker all &&
    on_all_hosts "$(prepare_host)"
}

for ((attempt = 0; attempt <= retries; attempt++)); do
  if make_vm && prepare && on_all_hosts "$(host_command)"; then
    [[ -n $dry_run ]] && exit 0
    echo "finished: $bucket/runs/$run"
    echo "the TPU VM $name is still there, and costs: ${vm[*]} delete $name ${where[*]}"
    exit 0
  fi
  if codes=$("${vm[@]}" ssh "$name" "${where[@]}" --worker all --command "cat ~/jaxvq.exit" 2>/dev/null); then
    if grep -qx 2 <<<"$codes"; then fail "the input of the training is at fault; see the lines above"; fi
  fi
  echo "not finished; state of the TPU VM: $(state); trying again in $wait_seconds s (Ctrl-C stops)"
  sleep "$wait_seconds"
done
echo "error: not finished after $((retries + 1)) starts; the same command continues" >&2
exit 75
