#!/usr/bin/env bash
# One host's part of a training: what tools/run_tpu.sh and tools/run_slurm.sh start on every host.
#
#   tools/train_host.sh --config FILE --workdir RUN [--distributed | --coordinator HOST:PORT
#                       --num_processes N --process_id I] [--config.FIELD VALUE …]
#
# All arguments go to jaxvq train; PYTHON names another python. Compiled programs are kept
# in JAX_COMPILATION_CACHE_DIR, so that a restart does not compile again. Ends with
#   0   the training is finished
#   2   the input is at fault; starting again would not help
#   75  it was stopped, or another host was: start all hosts again, the training continues
# and writes that number to JAXVQ_EXIT_FILE if that is set.
set -u

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/jaxvq-programs}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-1}"
export PYTHONUNBUFFERED=1

stopped=""
"${PYTHON:-python}" -m jaxvq.train "$@" &
child=$!
trap 'stopped=1; kill -TERM "$child" 2>/dev/null' TERM INT
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do # a signal ended only the waiting
  wait "$child"
  code=$?
done

if [[ $code == 0 && -z $stopped ]]; then
  echo "host: finished"
elif [[ $code == 2 ]]; then
  echo "host: the input is at fault (see the line above); starting again would not help" >&2
elif [[ $code == 0 ]]; then
  code=75
  echo "host: stopped and saved; start all hosts again to continue" >&2
else
  echo "host: ended with code $code before the training was finished, because this host or another" \
    "one failed; start all hosts again to continue at the newest checkpoint" >&2
  code=75
fi
if [[ -n ${JAXVQ_EXIT_FILE:-} ]]; then
  echo "$code" >"$JAXVQ_EXIT_FILE"
fi
exit "$code"
