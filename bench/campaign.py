"""What bench/faults does its faults to: short runs in a folder of their own, watched from outside.

A Campaign has data, recipes and the hashes of runs that nobody touched. A Trial is one fault: a folder, one run or several in
turn, and what was wrong with them. Whatever a trial leaves behind (processes, shared memory, session folders) is found and
counted against it.
"""
import ctypes
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TASKS = ("sft", "classify", "ppo")
STEPS, EVERY, HALF = 24, 3, 12
RECIPES = {
    "sft": """
model: {style: llama, layers: 1, width: 16, heads: 2, dropout: 0.1}
data: {train: data/sft}
batch: {grain: 1, grains: 4, tokens: 96}
optimizer: {lr: 3e-3, warmup: 2, decay_steps: 24}
ema: {decay: 0.9}
""",
    "classify": """
model: {family: convnet, blocks: [1, 1], widths: [8, 16]}
data: {train: data/digits}
augment: {crop: 1, mixup: 0.2}
batch: {grain: 5, grains: 4}
optimizer: {name: sgd, lr: 0.1, warmup: 2, decay_steps: 24}
""",
    "ppo": """
model: {style: llama, layers: 1, width: 16, heads: 2}
data: {train: data/questions}
batch: {grain: 2, grains: 4, tokens: 40}
optimizer: {lr: 5e-3, decay_steps: 24}
ppo: {group: 2, max_tokens: 6, epochs: 1, minibatches: 2, kl_coef: 0.05, missing_end: 0.5}
"""}
DATA = {"sft": "data/sft", "classify": "data/digits", "ppo": "data/questions"}
PATIENCE = 90  # seconds after which a run counts as hung


class Job:
    """One start of a run. Its lines on stderr carry the time at which they came."""

    def __init__(self, trial, ranks, arguments, environment, retries):
        program = ["lockstep", "train", "recipe.yaml", *arguments]
        if ranks > 1 or retries:  # by the launcher, since Open MPI's mpirun can stand for ever when its ranks die while they start
            program = ["lockstep", "launch", "mpirun", "recipe.yaml", "-n", str(ranks), "--retries", str(retries), *arguments]
        self.ranks = ranks
        self.lines = []
        self.begun = time.monotonic()
        self.process = subprocess.Popen(program, cwd=trial.folder, env=trial.campaign.environment(trial.folder, environment),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        for line in self.process.stderr:
            self.lines.append((time.monotonic(), line.rstrip()))

    def members(self):
        """Process numbers of the ranks that are there now."""
        found = {}
        for number in descendants(self.process.pid):
            try:
                words = pathlib.Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for word in words:
                if word.startswith(b"OMPI_COMM_WORLD_RANK="):
                    found[int(word.split(b"=")[1])] = number
        return found

    def running(self):
        return self.process.poll() is None

    def end(self, patience=PATIENCE):
        """Exit code; None: it had to be killed."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            code = None
            for number in (*descendants(self.process.pid), self.process.pid):
                kill(number, signal.SIGKILL)
            self.process.wait()
        self.reader.join(10)
        self.seconds = time.monotonic() - self.begun
        return code

    def first(self, pattern, since=0.0):
        """The time of the first line that the pattern is found in; None: there is none."""
        return next((when for when, line in list(self.lines) if when >= since and re.search(pattern, line)), None)

    def text(self):
        return "\n".join(line for _, line in list(self.lines))


def children(number):
    found = []
    try:
        for thread in os.listdir(f"/proc/{number}/task"):
            found += map(int, pathlib.Path(f"/proc/{number}/task/{thread}/children").read_text().split())
    except OSError:
        pass
    return found


def descendants(number):
    found = children(number)
    for child in found:
        found += children(child)
    return found


def kill(number, how):
    try:
        os.kill(number, how)
    except ProcessLookupError:
        return False
    return True


class Campaign:
    def __init__(self, folder, build, own_shared_memory, late):
        self.folder, self.build, self.own_shared_memory, self.late = folder, build, own_shared_memory, late
        self.library = build / "tests" / "libfaulty_disk.so"
        self.measured = {}
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: whoever loses its parent comes to us, and is seen
        self.make_data()
        self.reference = {task: self.undisturbed(task) for task in TASKS}

    def close(self):
        """Whoever is still there was started for the fault that was interrupted."""
        for number in descendants(os.getpid()):
            kill(number, signal.SIGKILL)

    def environment(self, folder, more):
        return {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                "PATH": f"{self.build / 'launch'}:{os.environ['PATH']}", "TMPDIR": str(folder / "tmp"), **more}

    def lockstep(self, *arguments, folder=None):
        folder = folder or self.folder
        answer = subprocess.run(["lockstep", *map(str, arguments)], cwd=folder, env=self.environment(folder, {}), text=True, errors="replace",
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return answer.returncode, answer.stdout.strip()

    def must(self, *arguments, folder=None):
        code, said = self.lockstep(*arguments, folder=folder)
        if code:
            raise SystemExit(f"bench/faults: lockstep {' '.join(map(str, arguments))}: {code}\n{said}")
        return said

    def make_data(self):
        (self.folder / "data").mkdir()
        (self.folder / "tmp").mkdir()
        draw = random.Random(1)
        for name, rows in (("sft", 60), ("questions", 11)):
            texts = self.folder / f"{name}.jsonl"
            numbers = [(draw.randrange(100), draw.randrange(100)) for _ in range(rows)]
            texts.write_text("".join(json.dumps({"prompt": f"{a} and {b}?", "response": f"they are #{a + b}"}) + "\n" for a, b in numbers))
            self.must("data", "tokenizer", "--vocabulary", 257, "--field", "prompt,response", "-o", f"{name}.json", texts)
            self.must("data", "pack", "-t", f"{name}.json", "--prompt", "prompt", "--response", "response", "-o", f"data/{name}", texts)
        digits = self.folder / "digits.csv"
        digits.write_bytes(gzip.open(ROOT / "data-sets/digits/digits.csv.gz").read())
        self.must("data", "images", "-o", "data/digits", "--scale", 16, "--range", "0..119", digits)

    def undisturbed(self, task):
        """Hashes of all checkpoints of a run on one rank."""
        trial = Trial(self, "undisturbed", task, 0)
        trial.train(1, "checkpoint.keep=99", must=True)
        hashes = {step: self.must("ckpt", "hash", trial.run / "checkpoints" / f"step-{step:08d}") for step in range(EVERY, STEPS + 1, EVERY)}
        shutil.rmtree(trial.folder)
        return hashes

    def measure(self, task, ranks):
        """Of a run that nobody touches: seconds from start to end, and by rank the calls that change a checkpoint. Made once."""
        if (task, ranks) not in self.measured:
            trial = Trial(self, "measured", task, ranks)
            mark = trial.folder / "mark"
            job = trial.start(ranks, environment=self.faulty("count -1 0 1", mark))
            if job.end() != 0:
                raise SystemExit(f"bench/faults: {task} on {ranks} ranks, only counted, failed\n{job.text()}")
            calls = {}
            for rank, count in re.findall(r"counted (\d+) (\d+)", mark.read_text()):
                calls[int(rank)] = max(int(count), calls.get(int(rank), 0))
            self.measured[task, ranks] = (job.seconds, calls)
            shutil.rmtree(trial.folder)
        return self.measured[task, ranks]

    def faulty(self, disk, mark):
        """Environment for a fault of tests/checkpoint/faulty_disk.c."""
        return {"LD_PRELOAD": str(self.library), "LS_DISK_FAULT": disk, "LS_FAULT_MARK": str(mark)}

    def half_way(self, task, ranks):
        """A run folder that stands at HALF, with two checkpoints; made once."""
        folder = self.folder / f"prepared-{task}-{ranks}"
        if not folder.exists():
            trial = Trial(self, "half", task, ranks)
            trial.train(ranks, f"max_steps={HALF}", must=True)
            trial.run.rename(folder)
            shutil.rmtree(trial.folder)
        return folder


class Trial:
    def __init__(self, campaign, kind, task, number):
        self.campaign, self.task, self.kind = campaign, task, kind
        self.folder = campaign.folder / f"{kind}-{task}-{number}"
        self.run = self.folder / "run"
        self.folder.mkdir()
        (self.folder / "tmp").mkdir()
        (self.folder / "data").symlink_to("../data")
        (self.folder / "recipe.yaml").write_text(f"task: {task}\nrun: run\nseed: 5\nmax_steps: {STEPS}\ncheckpoint: {{every: {EVERY}, keep: 2}}\n"
                                                 f"guard: {{deadline: 30}}\n{RECIPES[task]}")
        self.jobs, self.wrong, self.lost = [], [], 0

    def start(self, ranks, *arguments, environment=None, retries=0):
        job = Job(self, ranks, arguments, environment or {}, retries)
        self.jobs.append(job)
        return job

    def train(self, ranks, *arguments, must=False):
        job = self.start(ranks, *arguments)
        code = job.end()
        if code != 0 and must:
            raise SystemExit(f"bench/faults: a run of {self.task} on {ranks} rank(s) that nobody touched ended with {code}\n{job.text()}")
        return job, code

    def expect(self, good, sentence):
        if not good:
            self.wrong.append(sentence)
        return good

    def committed(self):
        """Steps of the checkpoints that are there under their final names."""
        folder = self.run / "checkpoints"
        return sorted(int(name[5:]) for name in (os.listdir(folder) if folder.exists() else []) if re.fullmatch(r"step-\d{8}", name))

    def check_committed(self, least):
        """Each is whole and has the bits of its step; none is older than `least`, the newest that was seen before."""
        steps = self.committed()
        if not self.expect(not least or (steps and steps[-1] >= least), f"the checkpoint of step {least} is gone, there are {steps}"):
            self.lost += 1
        for step in steps:
            folder = self.run / "checkpoints" / f"step-{step:08d}"
            code, said = self.campaign.lockstep("ckpt", "verify", folder)
            if self.expect(code == 0, f"step {step} is committed and not whole: {said}"):
                got = self.campaign.lockstep("ckpt", "hash", folder)[1]
                if self.expect(got == self.campaign.reference[self.task][step], f"step {step} is committed with hash {got}"):
                    continue
            self.lost += 1
        return steps[-1] if steps else None

    def go_on(self, ranks, newest):
        """Starts again; the end must have the bits of the undisturbed run. Returns the job and whether it had."""
        job, code = self.train(ranks)
        if not self.expect(code == 0, f"started again on {ranks} rank(s) it ended with {code}: {job.text()[-600:]}"):
            return job, False
        if newest and newest < STEPS:
            self.expect(f"step-{newest:08d}" in job.text(), f"it did not go on from step {newest}")
        code, got = self.campaign.lockstep("ckpt", "hash", self.run)
        same = code == 0 and got == self.campaign.reference[self.task][STEPS]
        self.expect(same, f"the hash at the end is {got}, not {self.campaign.reference[self.task][STEPS]}")
        code, said = self.campaign.lockstep("ckpt", "verify", self.run)
        self.expect(code == 0, f"the end is not whole: {said}")
        return job, same

    def leftovers(self):
        """Processes, shared memory and session folders; removed once they are counted."""
        until = time.monotonic() + 3
        while children(os.getpid()) and time.monotonic() < until:
            try:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            except ChildProcessError:
                pass
            time.sleep(0.02)
        found = []
        for number in children(os.getpid()):
            words = pathlib.Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(f"process {number} {words}")
            kill(number, signal.SIGKILL)
        for name in os.listdir("/dev/shm") if self.campaign.own_shared_memory else []:
            found.append(f"/dev/shm/{name}")
            (pathlib.Path("/dev/shm") / name).unlink()
        found += [f"TMPDIR/{path.relative_to(self.folder / 'tmp')}" for path in sorted((self.folder / "tmp").rglob("*")) if not path.is_dir()]
        found += [f"TMPDIR/{path.name}" for path in (self.folder / "tmp").iterdir()]
        return found
