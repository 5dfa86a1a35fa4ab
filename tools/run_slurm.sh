#!/usr/bin/env bash
# Trains on GPUs of a Slurm cluster, one process per GPU, until the training is finished.
#
#   tools/run_slurm.sh --data DATA --workdir RUN --nodes 2 --gpus 4 [--time 24:00:00] \
#       [--partition P] [--account A] [--cpus N] [--memory M] [--dry_run] \
#       -- --config configs/fsq_pose.py [--config.FIELD VALUE …]
#
#   --data, --workdir   on a file system that all nodes see
#   --nodes, --gpus     how many nodes (default 1), and GPUs on each (default 1)
#   --time              of one job (default 24:00:00)
#   --cpus, --memory    of each process (default 8 cores, 32G)
#   --dry_run           prints the job and how it would be sent, and sends nothing
#
# What follows -- goes to jaxvq train; PYTHON names another python. Two minutes before its
# time is over a job saves and asks Slurm to queue it again, and so it does when a node fails. Logs:
# RUN/logs. The same command continues a run.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 2
}

usage() { sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; }

data="" workdir="" nodes=1 gpus=1 time="24:00:00" partition="" account="" cpus=8 memory=32G
dry_run="" train=()
while (($#)); do
  case $1 in
    --data | --workdir | --nodes | --gpus | --time | --partition | --account | --cpus | --memory)
      (($# > 1)) || fail "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
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
[[ -n $data && -n $workdir ]] || fail "give --data and --workdir; see --help"
for option in nodes gpus cpus; do
  [[ ${!option} =~ ^[1-9][0-9]*$ ]] || fail "--$option ${!option}: expected 1 or more"
done
[[ $time =~ ^([0-9]+-)?[0-9]+(:[0-9]+){0,2}$ ]] || fail "--time $time: expected such as 24:00:00"
[[ -d $data || -n $dry_run ]] || fail "--data $data: no such folder"
[[ " ${train[*]-} " == *" --config"[\ =]* ]] || fail "after --, give --config FILE for the training"
[[ -n $dry_run ]] || command -v sbatch >/dev/null || fail "sbatch is not installed"

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$(command -v python || command -v python3)}
host=(--distributed --workdir "$workdir" --config.data.dir "$data" "${train[@]}")

job() {
  cat <<END
#!/usr/bin/env bash
#SBATCH --job-name=jaxvq
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=$gpus
#SBATCH --gpus-per-node=$gpus
#SBATCH --cpus-per-task=$cpus
#SBATCH --mem-per-cpu=${memory_per_cpu}M
#SBATCH --time=$time
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
#SBATCH --output=$workdir/logs/%j.log
END
  if [[ -n $partition ]]; then echo "#SBATCH --partition=$partition"; fi
  if [[ -n $account ]]; then echo "#SBATCH --account=$account"; fi
  cat <<END
export PYTHON=$(printf %q "$python")
srun --kill-on-bad-exit=1 --wait=90 $(printf %q "$repository/tools/train_host.sh")$(printf ' %q' "${host[@]}")
code=\$?
if ((code != 0 && code != 2)); then
  echo "not finished (code \$code): queued again"
  scontrol requeue "\$SLURM_JOB_ID"
fi
exit "\$code"
END
}

[[ $memory =~ ^([0-9]+)([GM])$ ]] || fail "--memory $memory: expected such as 32G"
if [[ ${BASH_REMATCH[2]} == G ]]; then
  memory_per_cpu=$((BASH_REMATCH[1] * 1024 / cpus))
else
  memory_per_cpu=$((BASH_REMATCH[1] / cpus))
fi
if [[ -n $dry_run ]]; then
  job
  echo "+ mkdir -p $(printf %q "$workdir")/logs"
  echo "+ sbatch < the lines above"
else
  mkdir -p "$workdir/logs"
  job | sbatch
fi
