"""The kinds of faults of bench/faults. Each is a function (trial, draw, ranks) that does one to a run, and returns what it saw:

    detected    whether somebody was told; None: there is nothing to tell
    seconds     until it was told; None: not known
    same        whether the run, started again, ended with the bits of one that nobody touched
    detail      what was done, for people
What was wrong is in trial.wrong.
"""
import re
import shutil
import signal
import time

from campaign import DATA, HALF, children, kill

DEADLINE = 2  # guard.deadline of a run that hangs
SETTINGS = (("batch.schedule", ("block", "round")), ("checkpoint.async", ("true", "true", "false")),
            ("checkpoint.verify", ("false", "false", "true")), ("checkpoint.buffer", ("64Mi", "64Ki")))


def settings(draw):
    """Nothing of this is seen in the bits."""
    return [f"{key}={draw.choice(values)}" for key, values in SETTINGS]


def ranks_again(draw):
    return draw.choice((1, 1, 2, 3, 4))


def opened(trial, ranks):
    return all((trial.run / "log" / f"rank-{rank:04d}.pid").exists() for rank in range(ranks))


def strike(trial, draw, ranks, how, choose, arguments=(), wait=False):
    """Starts a run and sends a signal to the ranks that `choose` names, at a random moment of its time; with `wait`, of that
    from its ranks' logs on (before, the recipe's deadline is not known). Returns job, what was struck, and when."""
    length, _ = trial.campaign.measure(trial.task, ranks)
    share = draw.random()
    options = settings(draw)
    chosen = choose(draw)
    for attempt in range(8):
        if trial.run.exists():
            shutil.rmtree(trial.run)
        job = trial.start(ranks, *options, *arguments)
        while wait and job.running() and not opened(trial, ranks):
            time.sleep(0.002)
        now = time.monotonic()
        moment = now + share * max(0.1, job.begun + length - now)
        time.sleep(max(0, moment - time.monotonic()))
        while job.running() and not set(chosen) <= set(job.members()):
            time.sleep(0.005)
        members = job.members()
        struck = [rank for rank in chosen if rank in members and kill(members[rank], how)]
        when = time.monotonic()
        if struck == chosen:
            return job, chosen, when, f"{how.name} of {chosen} after {when - job.begun:.2f} of {length:.2f} s, {' '.join(options)}"
        job.end()
        share *= 0.8
    trial.expect(False, "the run was always over before it was struck")
    return job, chosen, when, "nothing"


def after_death(trial, draw, job, named, when, detail):
    """The job must end, with a word about one of the dead; then it goes on."""
    code = job.end()
    trial.expect(code is not None, "the job did not end")
    pattern = "|".join(rf"rank {rank} \(|process rank {rank} " for rank in named)
    if not opened(trial, job.ranks):
        pattern += "|Primary job  terminated|mpirun stood still"  # killed inside MPI's start there is only mpirun to tell of it
    told = job.first(pattern, when)
    if code == 0:
        told = when  # it was struck behind its last breath: the run is whole
        detail += ", after its end"
    trial.expect(told, f"ended with {code}, and none of {named} was named: {job.text()[-800:]}")
    newest = trial.check_committed(None)
    _, same = trial.go_on(ranks_again(draw), newest)
    return {"detected": told is not None, "seconds": told and max(0.0, told - when), "same": same, "detail": detail}


def kill_one(trial, draw, ranks):
    return after_death(trial, draw, *strike(trial, draw, ranks, signal.SIGKILL, lambda d: [d.randrange(ranks)]))


def kill_all(trial, draw, ranks):
    return after_death(trial, draw, *strike(trial, draw, ranks, signal.SIGKILL, lambda d: list(range(ranks))))


def kill_mpirun(trial, draw, ranks):
    """Under `lockstep launch mpirun`, which cleans up and starts it again by itself."""
    length, _ = trial.campaign.measure(trial.task, ranks)
    moment = draw.random() * length
    job = trial.start(ranks, *settings(draw), retries=3)
    time.sleep(moment)
    struck = [number for number in children(job.process.pid) if kill(number, signal.SIGKILL)]
    when = time.monotonic()
    code = job.end()
    told = job.first("lockstep launch .*: ended after", when) if struck else when
    trial.expect(code == 0, f"the launcher ended with {code}: {job.text()[-800:]}")
    trial.expect(told, f"the launcher did not tell of it: {job.text()[-800:]}")
    newest = trial.check_committed(None)
    _, same = trial.go_on(ranks_again(draw), newest)
    return {"detected": told is not None, "seconds": told - when if told and struck else None, "same": same,
            "detail": f"mpirun killed after {moment:.2f} s" if struck else f"over before {moment:.2f} s"}


def hang(trial, draw, ranks):
    job, (rank,), when, detail = strike(trial, draw, ranks, signal.SIGSTOP, lambda d: [d.randrange(ranks)], [f"guard.deadline={DEADLINE}"], True)
    code = job.end(DEADLINE + 30)
    # Where the others had ended already, it is the launcher that tells.
    told = job.first(rf"ERROR world: .*rank {rank} \([^)]*\) did not come|rank {rank} was stopped \(", when)
    trial.expect(code is not None, "a silent hang")
    trial.expect(told, f"ended with {code}, and rank {rank} was not named: {job.text()[-800:]}")
    trial.expect(not told or told - when <= DEADLINE + trial.campaign.late, f"told after {(told or when) - when:.1f} s")
    newest = trial.check_committed(None)
    _, same = trial.go_on(ranks_again(draw), newest)
    return {"detected": told is not None, "seconds": told and told - when, "same": same, "detail": detail}


def with_bad_disk(trial, draw, ranks, kind, calls):
    """Starts a run whose disk fails at a random call of a random rank. Returns job, exit code, when it struck, and the detail."""
    rank = draw.randrange(ranks)
    at = draw.randrange(trial.campaign.measure(trial.task, ranks)[1][rank])
    last = draw.choice(calls)
    options = settings(draw)
    mark = trial.folder / "mark"
    for attempt in range(8):
        job = trial.start(ranks, *options, environment=trial.campaign.faulty(f"{kind} {rank} {at} {last}", mark))
        code = job.end()
        struck = re.search(r"struck (\S+) (\S+)", mark.read_text() if mark.exists() else "")
        if struck:
            break
        at = at * 3 // 4  # saves that another setting makes of fewer calls
        shutil.rmtree(trial.run)
        mark.unlink(missing_ok=True)
    trial.expect(struck, "the disk was always good")
    trial.expect(code is not None, "the job did not end")
    detail = f"{kind} at call {at} ({struck and struck[1]}) of rank {rank}, for {last}; {' '.join(options)}; exit code {code}"
    return job, code, rank, float(struck[2]) if struck else job.begun, detail


def failing_disk(trial, draw, ranks, kind, word, calls):
    job, code, _, when, detail = with_bad_disk(trial, draw, ranks, kind, calls)
    told = job.first(word)
    trial.expect(told, f"nobody was told: {job.text()[-800:]}")
    trial.expect(code in (0, 1), f"ended with {code}")
    newest = trial.check_committed(None)
    _, same = trial.go_on(ranks_again(draw), newest)
    return {"detected": told is not None, "seconds": told and max(0.0, told - when), "same": same, "detail": detail}


def full_disk(trial, draw, ranks):
    return failing_disk(trial, draw, ranks, "enospc", "No space left", (1, 4, 30, 100000))


def broken_disk(trial, draw, ranks):
    return failing_disk(trial, draw, ranks, "eio", "Input/output error", (1, 1, 4, 100000))


def short_writes(trial, draw, ranks):
    job, code, _, _, detail = with_bad_disk(trial, draw, ranks, "short", (1, 100000))
    trial.expect(code == 0, f"ended with {code}: {job.text()[-800:]}")
    trial.expect(trial.committed()[-1:] == [24], f"a save was lost: {trial.committed()}")
    newest = trial.check_committed(None)
    _, same = trial.go_on(ranks_again(draw), newest)
    return {"detected": None, "seconds": None, "same": same, "detail": detail}


def kill_saving(trial, draw, ranks):
    job, code, rank, when, detail = with_bad_disk(trial, draw, ranks, draw.choice(("kill", "torn")), (1,))
    return after_death(trial, draw, job, [rank], when, detail)


def spoil(draw, files, how):
    """Flips one bit of one of the files, or cuts it short. Returns the file and what was done."""
    file = draw.choice(sorted(files))
    content = bytearray(file.read_bytes())
    place = draw.randrange(len(content))
    if how == "flip":
        bit = draw.randrange(8)
        content[place] ^= 1 << bit
        detail = f"bit {bit} of byte {place} of {len(content)} of {file.name}"
    else:
        detail = f"{file.name} cut from {len(content)} to {place}"
        del content[place:]
    file.write_bytes(content)
    return file, detail


def spoil_checkpoint(trial, draw, ranks, how):
    shutil.copytree(trial.campaign.half_way(trial.task, ranks), trial.run)
    newest, older = trial.run / "checkpoints" / f"step-{HALF:08d}", HALF - 3
    file, detail = spoil(draw, newest.iterdir(), how)
    code, said = trial.campaign.lockstep("ckpt", "verify", trial.run)
    trial.expect(code == 1 and file.name in said, f"ckpt verify: {code}, {said}")
    again = ranks_again(draw)
    job, same = trial.go_on(again, older)
    told = job.first(rf"{newest.name}.*trying the one before")
    trial.expect(told, f"it was not told at the start: {job.text()[-800:]}")
    return {"detected": code == 1 and told is not None, "seconds": told and told - job.begun, "same": same, "detail": f"{detail}; on {again}"}


def flip_checkpoint(trial, draw, ranks):
    return spoil_checkpoint(trial, draw, ranks, "flip")


def cut_checkpoint(trial, draw, ranks):
    return spoil_checkpoint(trial, draw, ranks, "cut")


def spoil_data(trial, draw, ranks, how):
    """A run that goes on meets data that were spoilt meanwhile."""
    shutil.copytree(trial.campaign.half_way(trial.task, ranks), trial.run)
    (trial.folder / "data").unlink()
    shutil.copytree(trial.campaign.folder / "data", trial.folder / "data")
    folder = trial.folder / DATA[trial.task]
    file, detail = spoil(draw, [path for path in folder.iterdir() if path.suffix == ".h5"], how)
    code, said = trial.campaign.lockstep("data", "verify", folder)
    verified = code != 0 and file.name in said
    job, code = trial.train(ranks, *settings(draw))
    told = job.first(re.escape(file.name))
    trial.expect(code == 0 or told, f"ended with {code}, and {file.name} is not named: {job.text()[-800:]}")
    trial.expect(verified, f"data verify found nothing: {detail}")
    if code == 0:  # no byte that is read: then it was no fault, and the bits are the right ones
        trial.check_committed(None)
        detail += ", which training does not read"
    shutil.copytree(trial.campaign.folder / DATA[trial.task], folder, dirs_exist_ok=True)
    _, same = trial.go_on(ranks_again(draw), None)
    return {"detected": verified, "seconds": told and told - job.begun, "same": same, "detail": detail}


def flip_data(trial, draw, ranks):
    return spoil_data(trial, draw, ranks, "flip")


def cut_data(trial, draw, ranks):
    return spoil_data(trial, draw, ranks, "cut")


def clock_step(trial, draw, ranks):
    length, _ = trial.campaign.measure(trial.task, ranks)
    seconds = draw.choice((1, 60, 3600, 35000000)) * draw.choice((1, -1))
    after = draw.random() * length
    step = {"LD_PRELOAD": str(trial.campaign.library), "LS_CLOCK_STEP": f"{seconds} {after:.3f}"}
    job = trial.start(ranks, *settings(draw), f"guard.deadline={DEADLINE}", environment=step)
    code = job.end()
    trial.expect(code == 0, f"ended with {code}: {job.text()[-800:]}")
    trial.expect(not job.first("ERROR|WARN (?!metrics)"), f"somebody complained: {job.text()[-800:]}")
    newest = trial.check_committed(None)
    _, same = trial.go_on(ranks_again(draw), newest)
    return {"detected": None, "seconds": None, "same": same, "detail": f"{seconds:+d} s after {after:.2f} s"}


KINDS = {
    "kill-one": (kill_one, "one rank killed"),
    "kill-all": (kill_all, "all ranks killed"),
    "kill-saving": (kill_saving, "killed in a save"),
    "kill-mpirun": (kill_mpirun, "mpirun killed (`launch mpirun`)"),
    "hang": (hang, f"one rank stopped (deadline {DEADLINE} s)"),
    "full-disk": (full_disk, "ENOSPC in a save"),
    "broken-disk": (broken_disk, "EIO in a save"),
    "short-writes": (short_writes, "short writes in a save"),
    "flip-checkpoint": (flip_checkpoint, "flipped bit, checkpoint"),
    "cut-checkpoint": (cut_checkpoint, "truncation, checkpoint"),
    "flip-data": (flip_data, "flipped bit, data shard"),
    "cut-data": (cut_data, "truncation, data shard"),
    "clock-step": (clock_step, "step of the clock"),
}
