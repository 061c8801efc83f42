"""Hosts on one machine: network and mount namespaces, a switch between them, and Ray in each. Needs root, `ip` and `unshare`.

The first host is the head of the cluster and has the project. The others have neither the project nor anything of the first one's temporary
folders: of the machine's files they see what is installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PORT = 6399
HIDDEN = """set -e
keep={scratch}/prefix
if [ -n "{inside}" ]; then mkdir -p $keep; mount --bind {prefix} $keep; fi
mount -t tmpfs none {project}
if [ -n "{inside}" ]; then mkdir -p {prefix}; mount --bind $keep {prefix}; fi
for folder in {folders}; do mount -t tmpfs none $folder; done
exec {command}
"""


def reason_not_to() -> str:
    """Why there can be no such hosts here; nothing where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "there is no ip or no unshare here"
    trial = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True)
    return "" if trial.returncode == 0 else "namespaces are not allowed here"


class Hosts:
    """`run` folders of the first host are under `folder`, which the other hosts do not see."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.mark = f"sb{os.getpid()}"
        self.switch = f"{self.mark}h0"
        self.n = 1
        self.processes: dict[int, subprocess.Popen] = {}
        self.scratch = Path(tempfile.mkdtemp(prefix="h", dir="/tmp"))
        self._ip("netns", "add", self.switch)
        self._ip("-n", self.switch, "link", "set", "lo", "up")
        self._ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        self._ip("-n", self.switch, "addr", "add", "10.77.0.1/24", "dev", "br0")
        self._ip("-n", self.switch, "link", "set", "br0", "up")
        words = ["start", "--head", f"--port={PORT}", f"--temp-dir={self._temporary(0)}", "--include-dashboard=false"]
        self._ray(0, self.switch, words, hides=False)
        self.wait_for(1)

    def add(self) -> int:
        """Adds a host, whose Ray has one core; gives its number."""
        number, self.n = self.n, self.n + 1
        name, end = f"{self.mark}h{number}", f"v{number}"
        self._ip("netns", "add", name)
        self._ip("link", "add", end, "netns", self.switch, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._ip("-n", self.switch, "link", "set", end, "master", "br0")
        for namespace, link in ((self.switch, end), (name, "eth0"), (name, "lo")):
            self._ip("-n", namespace, "link", "set", link, "up")
        self._ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
        self._ray(number, name, ["start", f"--address=10.77.0.1:{PORT}"], hides=True)
        return number

    def cut(self, number: int) -> None:
        self._ip("-n", self.switch, "link", "set", f"v{number}", "down")

    def mend(self, number: int) -> None:
        self._ip("-n", self.switch, "link", "set", f"v{number}", "up")

    def kill(self, number: int) -> None:
        """Ends all processes of a host at once."""
        for pid in self._pids(number):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def trains(self, number: int) -> bool:
        """Whether a worker of Ray there has a process beside it that trains."""
        workers, parents = set(), set()
        for pid in self._pids(number):
            with suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_bytes()
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if title.startswith(b"ray::"):
                    workers.add(pid)
                    parents.add(parent)
        return bool(workers & parents)

    def _pids(self, number: int) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", f"{self.mark}h{number}"], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen:
        """A command of this project on the first host, in `folder`."""
        command = ["ip", "netns", "exec", self.switch, sys.executable, str(ROOT / "run_bench.py"), *words]
        out = open(log, "w") if log else subprocess.PIPE  # noqa: SIM115 - the process has it
        return subprocess.Popen(
            command, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT, env=self._env(), text=True
        )

    def end(self) -> None:
        for number in range(self.n):
            self.kill(number)
            self._ip("netns", "del", f"{self.mark}h{number}", check=False)
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _temporary(self, number: int) -> Path:
        folder = self.scratch / str(number)
        folder.mkdir(exist_ok=True)
        return folder

    def _env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
        return kept | {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}

    def _ray(self, number: int, namespace: str, words: list[str], hides: bool) -> None:
        address = f"10.77.0.{number + 1}"
        program = f"{sys.executable} -m ray.scripts.scripts"
        options = f"--node-ip-address={address} --num-cpus=1 --object-store-memory=100000000 --block"
        command = f"{program} {' '.join(words)} {options}"
        if hides:
            prefix = Path(sys.prefix)
            script = HIDDEN.format(
                scratch=self._temporary(number),
                inside="yes" if prefix.is_relative_to(ROOT) else "",
                prefix=prefix,
                project=ROOT,
                folders=f"{self.folder} /dev/shm {self._temporary(0)}",
                command=command,
            )
            run = ["ip", "netns", "exec", namespace, "unshare", "-m", "bash", "-c", script]
        else:
            run = ["ip", "netns", "exec", namespace, "bash", "-c", f"exec {command}"]
        log = open(self.scratch / f"{number}.log", "w")  # noqa: SIM115 - the process has it
        self.processes[number] = subprocess.Popen(
            run, cwd="/", env=self._env(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )

    def wait_for(self, n: int, seconds: float = 120) -> None:
        """Waits until so many hosts are in the cluster."""
        program = "import ray; ray.init(address='10.77.0.1:%d', log_to_driver=False); print('nodes', len([n for n in ray.nodes() if n['Alive']]))"
        until = time.monotonic() + seconds
        said = ""
        while time.monotonic() < until:
            command = ["ip", "netns", "exec", self.switch, sys.executable, "-c", program % PORT]
            done = subprocess.run(command, env=self._env(), capture_output=True, text=True, cwd="/")
            said = done.stdout + done.stderr
            if f"nodes {n}" in said:
                return
            time.sleep(1)
        raise TimeoutError(f"there are not {n} nodes after {seconds:g} s: {said[-2000:]}")

    def _ip(self, *words: str, check: bool = True) -> None:
        subprocess.run(["ip", *words], check=check, capture_output=True)
