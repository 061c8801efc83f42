#!/bin/bash
# A run on one Ray cluster that lives inside a Slurm job: a head on the first node, workers on the others, one main job that uses them all.
# Better than an array where packs should go to whatever core is free, or to GPUs; all nodes are held until the last pack is done.
#
# From the repository's folder, with the options of the main job:
#
#     sbatch examples/slurm_ray.sh --grid domains=2..10 --name my-run
#
# The same command again goes on where it stopped. The page docs/cluster.md says more.

#SBATCH --job-name=bench-ray
# One Ray process group per node, with all cores that the node gives. --exclusive, since two clusters on one node would want the same ports.
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=0
#SBATCH --exclusive
# For GPUs add --gpus-per-node=1 here, and --device cuda to the options of the main job.
#SBATCH --time=03:30:00
#SBATCH --output=slurm-%x-%j.out
# Two minutes before the time is up this script (B:) gets SIGUSR1, and hands it to the main job.
#SBATCH --signal=B:USR1@120

set -eu
PYTHON=${PYTHON:-.venv/bin/python}
# The `ray` beside that Python.
RAY=$(dirname "$PYTHON")/ray

# A token of this job alone: whoever reaches the head's port without it is refused. All steps inherit it, whether they share a HOME or not.
# Ray sends it to an address that is named, as below, only if RAY_AUTH_MODE says so.
RAY_AUTH_TOKEN=$("$PYTHON" -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# On the node's own disk, and short: the path of a Unix socket has room for 107 bytes, and a scratch folder's name can be longer than that.
RAY_TMPDIR=/tmp/r$SLURM_JOB_ID
export RAY_TMPDIR
# srun makes it on every node.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" mkdir -p "$RAY_TMPDIR"

# The first node of the job is where this script runs. Its address, the first if it has several.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
ip=${ip%% *}
# Another port for another job, above those that Ray gives its workers (10002 to 19999).
address=$ip:$((20000 + SLURM_JOB_ID % 10000))

# srun does not take --cpus-per-task over from sbatch (since Slurm 22.05), so say it again; and say it to Ray too, which counts the cores
# of the whole machine, not those that the job may use. --block keeps the step, and with it Ray, until it is ended.
steps=()
srun --nodes=1 --ntasks=1 --nodelist="$head" --cpus-per-task="$SLURM_CPUS_PER_TASK" --overlap \
    "$RAY" start --head --block --node-ip-address="$ip" --port="${address##*:}" --num-cpus="$SLURM_CPUS_PER_TASK" \
    --include-dashboard=false &
steps+=($!)
# Whatever happens below, end the steps: their Ray ends with them.
trap 'kill "${steps[@]}" 2>/dev/null || true' EXIT
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    workers=$((SLURM_JOB_NUM_NODES - 1))
    # A worker tries for a while to reach a head that is not up yet; five seconds save it the trouble.
    sleep "${PAUSE:-5}"
    srun --nodes="$workers" --ntasks="$workers" --exclude="$head" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        "$RAY" start --block --address="$address" --num-cpus="$SLURM_CPUS_PER_TASK" &
    steps+=($!)
fi

# The main job plans for the cores that it finds when it starts, so wait for all nodes, five minutes at most.
"$PYTHON" - "$address" "$SLURM_JOB_NUM_NODES" <<'END'
import sys
import time

import ray

address, wanted = sys.argv[1], int(sys.argv[2])
for _ in range(150):
    try:
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL", ignore_reinit_error=True)
        if sum(node["Alive"] for node in ray.nodes()) >= wanted:
            sys.exit()
    except Exception as error:
        print(f"not yet: {type(error).__name__}")
    time.sleep(2)
sys.exit(f"of {wanted} nodes not all have joined {address}")
END

# What there is, in the log, before hours are spent on it. Its exit code 1, a trouble, ends this script.
"$PYTHON" run_bench.py doctor --ray-address "$address"

# The main job. Half an hour before the time of this job is up it begins nothing new, so that what runs can finish and the report is
# written; SIGUSR1, two minutes before, is for packs that took longer than expected.
"$PYTHON" run_bench.py "$@" --ray-address "$address" --time-budget 3h &
job=$!
trap 'kill -USR1 "$job"' USR1
# The first wait ends when the signal comes; then wait again, for the code of the main job.
code=0
wait "$job" || code=$?
while kill -0 "$job" 2>/dev/null; do
    code=0
    wait "$job" || code=$?
done
exit "$code"
