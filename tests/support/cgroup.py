"""Runs a command under a memory limit that the kernel enforces, and reports what it really used.

    with MemoryCgroup(512 << 20) as group:
        result = group.run(["build/dev/src/cli/jericho", "run", ...])
    assert result.oom_kills == 0 and result.peak_bytes <= 512 << 20

Works with cgroup v1 and v2. Entering raises CgroupUnavailable, with the reason, where groups may not be made; a test then
skips, or falls back to run_watched(), which has no limit but the same report. Leaving always removes the group.
"""
import dataclasses
import os
import pathlib
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path("/sys/fs/cgroup")
POLL_SECONDS = 0.002


class CgroupUnavailable(Exception):
    """Why no memory group can be made here."""


@dataclasses.dataclass
class Result:
    exit_code: int        # as of subprocess: negative is a signal
    stdout: str
    stderr: str
    seconds: float
    vm_hwm_bytes: int     # largest VmHWM seen, polled every 2 ms: the last growth before the end may be missed
    max_rss_bytes: int    # as the kernel says at the end; counts the launcher before it became the command
    peak_bytes: int = 0   # of the group, page cache and kernel memory included; 0: not known (no group, or v2 before 5.19);
                          # on v2 it is the peak of all commands of the group so far
    oom_kills: int = 0    # processes of the group that the kernel killed for want of memory


def _vm_hwm(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a zombie has no memory


def run_watched(command, *, timeout=600, env=None, cwd=None, stdin_text=""):
    """Runs `command` to its end, following its VmHWM. Kills it after `timeout` seconds and raises TimeoutExpired."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as source:
        source.write(stdin_text.encode())
        source.seek(0)
        begin = time.monotonic()
        child = subprocess.Popen(command, stdin=source, stdout=out, stderr=err, env=env, cwd=cwd)
        hwm = 0
        try:
            while True:
                hwm = max(hwm, _vm_hwm(child.pid))
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid != 0:
                    break
                if time.monotonic() - begin > timeout:
                    raise subprocess.TimeoutExpired(command, timeout)
                time.sleep(POLL_SECONDS)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()
        out.seek(0)
        err.seek(0)
        return Result(child.returncode, out.read().decode(errors="replace"), err.read().decode(errors="replace"),
                      time.monotonic() - begin, hwm, usage.ru_maxrss * 1024)


def _own_paths():
    """{controller: path}; the unified hierarchy's controller is ''."""
    paths = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path.lstrip("/")
    return paths


class MemoryCgroup:
    """One group with a limit of `limit_bytes` of RAM and no swap. For one thread; may run several commands in turn."""

    def __init__(self, limit_bytes):
        self.limit_bytes = limit_bytes
        self.path = None
        self.version = 2 if (ROOT / "cgroup.controllers").exists() else 1

    def __enter__(self):
        own = _own_paths()
        if self.version == 1:
            base, own_path = ROOT / "memory", own.get("memory", "")
            if not base.is_dir():
                raise CgroupUnavailable(f"{base} does not exist: the memory controller is off")
        else:
            base, own_path = ROOT, own.get("", "")
        reasons = []
        for parent in dict.fromkeys((base / own_path, base)):
            try:
                self._create(parent)
                return self
            except OSError as error:
                self._remove()
                reasons.append(f"{parent}: {error.strerror or error}")
        raise CgroupUnavailable("; ".join(reasons))

    def _create(self, parent):
        if self.version == 2 and "memory" not in (parent / "cgroup.subtree_control").read_text().split():
            (parent / "cgroup.subtree_control").write_text("+memory")
        path = parent / f"jericho-test-{os.getpid()}-{time.monotonic_ns()}"
        path.mkdir()
        self.path = path
        if self.version == 1:
            (path / "memory.limit_in_bytes").write_text(str(self.limit_bytes))
            self._write_optional("memory.memsw.limit_in_bytes", self.limit_bytes)
        else:
            (path / "memory.max").write_text(str(self.limit_bytes))
            self._write_optional("memory.swap.max", 0)
        if not os.access(path / "cgroup.procs", os.W_OK):
            raise PermissionError(1, "cgroup.procs is not writable")

    def _write_optional(self, name, value):
        """Swap accounting is absent in many kernels; without it the limit holds for RAM alone."""
        try:
            (self.path / name).write_text(str(value))
        except OSError:
            pass

    def run(self, command, **options):
        """As run_watched(), inside the group. The shell enters the group and becomes the command."""
        self._reset_peak()
        kills = self._oom_kills()
        enter = 'echo $$ > "$0" && exec "$@"'
        result = run_watched(["/bin/sh", "-c", enter, str(self.path / "cgroup.procs"), *map(str, command)], **options)
        result.peak_bytes = self._peak()
        result.oom_kills = self._oom_kills() - kills
        return result

    def _reset_peak(self):
        if self.version == 1:
            (self.path / "memory.max_usage_in_bytes").write_text("0")

    def _peak(self):
        path = self.path / ("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")
        return int(path.read_text()) if path.exists() else 0

    def _oom_kills(self):
        text = (self.path / ("memory.oom_control" if self.version == 1 else "memory.events")).read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def __exit__(self, *exception):
        self._remove()

    def _remove(self):
        """Ends what the commands have left behind in the group, then removes it."""
        if self.path is None:
            return
        for _ in range(500):
            try:
                for pid in (self.path / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                pass
            try:
                self.path.rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # a killed process has not yet gone
                time.sleep(0.01)
                continue
            self.path = None
            return
        raise RuntimeError(f"{self.path} could not be removed")
