#!/bin/bash
# A run as a Slurm array: every task trains one shard on its own, and a last job joins the shards and writes the report.
# No task talks to another one, so no Ray cluster is needed, tasks start whenever a core is free, and one that fails harms no other.
#
# From the repository's folder, on the login node, with the options of the main job after the name of the run:
#
#     bash examples/slurm_array.sh my-run --grid domains=2..10
#
# The same command again trains only what is missing. The page docs/cluster.md says more.

# --- What every task asks for. Slurm reads these lines; they must come before the first command.
#SBATCH --job-name=bench
# One core: a task runs its packs one after the other. Many small tasks start sooner than few large ones.
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
# As long as the largest shard takes; `--dry-run --shard 1/16` gives an estimate.
#SBATCH --time=04:00:00
# %A is the number of the array, %a that of the task.
#SBATCH --output=slurm-%x-%A-%a.out
# Two minutes before its time is up the task is told so (B: this script alone, which tells the main job below).
#SBATCH --signal=B:USR1@120

# Stop at the first command that fails, and at a variable that is not set.
set -eu

# The Python with what constraints.txt names; the environment of the README, unless PYTHON names another one.
PYTHON=${PYTHON:-.venv/bin/python}

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    # On the login node: submit this same file, first as an array, then as the job that joins what the tasks leave.
    name=${1:?name the run, as in: bash examples/slurm_array.sh my-run --grid domains=2..10}
    shift
    # The number of shards. Another number deals the trials out otherwise, so keep it while a run is not finished.
    SHARDS=${SHARDS:-16}
    # It travels to the tasks by its name. SLURM_ARRAY_TASK_COUNT would be wrong where only some tasks are submitted again, by --array=3,5.
    export SHARDS PYTHON
    array=$(sbatch --parsable --array="1-$SHARDS" "$0" "$name" "$@")
    # With --parsable a cluster may stand behind the number, as in 123;cluster.
    array=${array%%;*}
    # afterany, not afterok: a shard in which no trial is ok ends with code 1, and the others are to be joined all the same. The star stands
    # for the shards that left something; `merge` says which are absent. `printf %q` quotes a text once more, since --wrap goes to a shell.
    run="$(printf %q "$PYTHON") run_bench.py"
    quoted=$(printf %q "$name")
    sbatch --job-name=bench-merge --dependency="afterany:$array" --ntasks=1 --cpus-per-task=1 --mem=8G --time=01:00:00 \
        --output="slurm-%x-%j.out" \
        --wrap "$run merge results/runs/$quoted.*of$SHARDS --out $quoted && $run report $quoted"
    exit
fi

# In a task of the array: one shard. Slurm starts it in the folder from which it was submitted.
name=$1
shift
# --executor serial: one core, one process, no Ray. The shard writes results/runs/NAME.KofN, which no other task touches.
"$PYTHON" run_bench.py "$@" --name "$name" --executor serial --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" &
job=$!
# Bash runs a trap only between commands, so the main job is in the background and this script waits for it. Told that time is short,
# the main job begins nothing new, writes what it has and ends.
trap 'kill -USR1 "$job"' USR1
# The first wait ends when the signal comes, with a code above 128; then wait again, for the code of the main job.
code=0
wait "$job" || code=$?
while kill -0 "$job" 2>/dev/null; do
    code=0
    wait "$job" || code=$?
done
exit "$code"
