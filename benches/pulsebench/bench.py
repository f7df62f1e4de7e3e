#!/usr/bin/env python3
"""Runs peers of job J1 back to back, checks the digest of each output, prints a table.

  ./bench.py build [PEER..]                       build the generator and the peers (default: all in peers/)
  ./bench.py run [-n EVENTS,EVENTS..] [-r ROUNDS] PEER[:WORKERS]..
  ./bench.py run --cmd 'mine:2=/path/to/engine {data} {out} {workers}' flink:2

CPU = user + system time of the whole process tree, start-up included (exact: orphans are reaped too). On a shared
machine trust CPU and the ratios of peers inside one call, not wall-clock time. "marginal" = (CPU of the largest n -
CPU of the smallest n) / (difference in events): the cost per event without start-up and table loading.
"""
import argparse, ctypes, glob, json, os, re, resource, shutil, signal, statistics, subprocess, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.join(HERE, "work")
PAGE = os.sysconf("SC_PAGE_SIZE")
GEN = os.path.join(HERE, "gen", "target", "release")
ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans of a peer become ours


def data_dir(n):
    """work/N: generated events + links to the tables; made once"""
    d = os.path.join(WORK, str(n))
    if not os.path.exists(os.path.join(d, "events.jsonl")):
        tmp = d + ".tmp"
        subprocess.run([os.path.join(GEN, "gen"), str(n), tmp, "2"], check=True)
        os.rename(tmp, d)
    for f in glob.glob(os.path.join(HERE, "data", "*.json")) + glob.glob(os.path.join(HERE, "data", "*.onnx")):
        link = os.path.join(d, os.path.basename(f))
        if not os.path.lexists(link):
            os.symlink(os.path.relpath(f, d), link)
    return d


def tree_rss(root):
    kids, rss = {}, {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            kids.setdefault(int(f[1]), []).append(int(p))
            rss[int(p)] = int(f[21]) * PAGE
        except OSError:
            pass
    total, todo = 0, [root]
    while todo:
        p = todo.pop()
        total += rss.get(p, 0)
        todo += kids.get(p, [])
    return total


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_once(name, cmd, workers, n, timeout):
    data, out = data_dir(n), os.path.join(WORK, "out", name)
    shutil.rmtree(os.path.dirname(out), ignore_errors=True)
    os.makedirs(os.path.dirname(out))
    argv = [a.format(data=data, out=out, workers=workers) for a in cmd]
    before, peak, stop = resource.getrusage(resource.RUSAGE_CHILDREN), [0], threading.Event()
    log = open(os.path.join(WORK, f"{name}.log"), "w")
    t0 = time.monotonic()
    p = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, cwd=WORK, start_new_session=True)

    def watch():
        while not stop.wait(0.1):
            peak[0] = max(peak[0], tree_rss(p.pid))
    watcher, killer = threading.Thread(target=watch), threading.Timer(timeout, kill_group, [p.pid])
    watcher.start()
    killer.start()
    _, status, usage = os.wait4(p.pid, 0)
    wall, rc = time.monotonic() - t0, os.waitstatus_to_exitcode(status)
    p.returncode = rc
    killer.cancel()
    stop.set()
    watcher.join()
    kill_group(p.pid)  # whatever the peer has left behind
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    files = [f for f in glob.glob(out + "*") + glob.glob(out + ".d/*") if os.path.isfile(f)]
    got = subprocess.run([os.path.join(GEN, "digest"), *files], capture_output=True, text=True).stdout.strip()
    want = json.load(open(os.path.join(HERE, "data", "expected.json"))).get(str(n))
    ok = rc == 0 and got == f"rows={n} sum={want} bad=0"
    return dict(peer=name, workers=workers, events=n, rc=rc, cpu_s=round(cpu, 3),
                sys_s=round(after.ru_stime - before.ru_stime, 3), wall_s=round(wall, 3),
                peak_mb=max(peak[0], usage.ru_maxrss << 10) >> 20, ok=ok, digest=got, load=os.getloadavg()[0])


def table(rows):
    med = lambda rs, k: statistics.median(r[k] for r in rs)
    groups = {}
    for r in rows:
        groups.setdefault((r["peer"], r["workers"]), {}).setdefault(r["events"], []).append(r)
    print("\n| peer | workers | events | CPU us/event | of it system | marginal | wall s | events/s | peak MB | digest |")
    print("|" + "---|" * 10)
    for (peer, workers), by_n in groups.items():
        lo, hi = min(by_n), max(by_n)
        for n, rs in sorted(by_n.items()):
            marginal = f"{(med(by_n[hi], 'cpu_s') - med(by_n[lo], 'cpu_s')) / (hi - lo) * 1e6:.2f}" if n == hi > lo else ""
            wall = med(rs, "wall_s")
            print(f"| {peer} | {workers} | {n} | {med(rs, 'cpu_s') / n * 1e6:.2f} | {med(rs, 'sys_s') / n * 1e6:.2f} | {marginal} | {wall:.2f} | {n / wall:.0f} "
                  f"| {med(rs, 'peak_mb'):.0f} | {'ok' if all(r['ok'] for r in rs) else 'WRONG'} |")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    b = sub.add_parser("build")
    b.add_argument("peers", nargs="*", default=None)
    r = sub.add_parser("run")
    r.add_argument("peers", nargs="*", metavar="PEER[:WORKERS]")
    r.add_argument("-n", "--events", type=lambda s: [int(v) for v in s.split(",")], default=[200_000], metavar="N,N..")
    r.add_argument("-r", "--rounds", type=int, default=1)
    r.add_argument("--cmd", action="append", default=[], metavar="NAME[:WORKERS]=COMMAND",
                   help="a further peer: {data}, {out} and {workers} are filled in; it writes {out}* files")
    r.add_argument("--timeout", type=int, default=900)
    a = ap.parse_args()
    if a.what == "build":
        subprocess.run(["cargo", "build", "--release", "--target-dir", "target"], cwd=os.path.join(HERE, "gen"), check=True)
        for p in a.peers or sorted(os.listdir(os.path.join(HERE, "peers"))):
            print("build", p, flush=True)
            subprocess.run([os.path.join(HERE, "peers", p, "build.sh")], check=True)
        return 0
    runs = []  # (name, workers, argv)
    for c in a.cmd:
        label, _, cmd = c.partition("=")
        name, _, w = label.partition(":")
        runs.append((name, int(w or 1), cmd.split()))
    for p in a.peers:
        name, _, w = p.partition(":")
        runs.append((name, int(w or 1), [os.path.join(HERE, "peers", name, "run.sh"), "{data}", "{out}", "{workers}"]))
    rows = []
    for i in range(a.rounds):
        for n in a.events:
            for name, workers, cmd in runs:
                row = dict(round=i, **run_once(re.sub(r"\W", "_", name), cmd, workers, n, a.timeout))
                rows.append(row)
                print(json.dumps(row), flush=True)
                with open(os.path.join(WORK, "results.jsonl"), "a") as f:
                    f.write(json.dumps(row) + "\n")
    table(rows)
    return 0 if all(r["ok"] for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
