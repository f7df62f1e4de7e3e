#!/usr/bin/env python3
"""CPU an event of `pulse run` with the log on Apache Kafka against the log in a file, in turn.

    benches/kafka.py PULSE BROKERS [EVENTS] [ROUNDS]

EVENTS simulated events go to the gateway in bodies of 500, as fast as it takes them, until all are scored. By thread (/proc): "log and
workers" are those that append, read, decode, score and write outputs; gateway, store and delivery are the same on both and
in "all" only. The broker's own CPU is not counted. One partition.
"""
import os, re, signal, subprocess, sys, tempfile, time, urllib.request

PULSE, BROKERS = os.path.abspath(sys.argv[1]), sys.argv[2]
EVENTS = int(sys.argv[3]) if len(sys.argv) > 3 else 200_000
ROUNDS = int(sys.argv[4]) if len(sys.argv) > 4 else 3
TICK = os.sysconf("SC_CLK_TCK")
OWN = re.compile(r"timely|log-|rdk|checkpointer|objects")


def seconds(path):
    text = open(path).read()
    fields = text.rsplit(")", 1)[1].split()
    return text[text.index("(") + 1 : text.rindex(")")], (int(fields[11]) + int(fields[12])) / TICK


def threads(pid):
    used = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            name, s = seconds(f"/proc/{pid}/task/{task}/stat")
            used[name] = used.get(name, 0) + s
        except OSError:
            pass  # it has ended
    return used


def metric(at, name):
    lines = urllib.request.urlopen(f"http://{at}/metrics", timeout=30).read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(name + r"[{ ]", line))


def measure(kafka, tag):
    with tempfile.TemporaryDirectory(prefix="pulse-bench-") as folder:
        with open(folder + "/pulse.toml", "w") as config:
            if kafka:
                config.write(f'[log]\nkind = "kafka"\nbrokers = "{BROKERS}"\n[log.kafka]\npartitions = 1\nprefix = "k{os.getpid()}{tag}."\n')
            config.write('[telemetry]\nlog_level = "warn"\n')
        words = ["--once", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0", "--data", folder + "/data"]
        run = subprocess.Popen([PULSE, "run", *words, "--config", folder + "/pulse.toml"], stdout=subprocess.PIPE, text=True)
        gateway, sidecar = (run.stdout.readline().split("http://")[1].strip() for _ in range(2))
        before = threads(run.pid)
        send = [PULSE, "simulate", "--seed", "7", "--events", str(EVENTS), "--to", f"http://{gateway}"]
        subprocess.run(send, check=True, stdout=subprocess.DEVNULL)
        while metric(sidecar, "pulse_events_scored_total") < EVENTS or metric(sidecar, "pulse_persist_lag_records") > 0:
            time.sleep(0.2)
        used = {k: v - before.get(k, 0) for k, v in threads(run.pid).items()}
        run.send_signal(signal.SIGTERM)
        run.wait(60)
    us = lambda s: s / EVENTS * 1e6
    own, every = us(sum(v for k, v in used.items() if OWN.match(k))), us(sum(used.values()))
    print(f"{'Kafka' if kafka else 'file '}: log and workers {own:.1f}, all {every:.1f} us/event;",
          {k: round(us(v), 1) for k, v in sorted(used.items(), key=lambda x: -x[1]) if us(v) >= 0.3}, flush=True)
    return own, every


if __name__ == "__main__":
    for turn in range(ROUNDS):
        file, kafka = measure(False, turn), measure(True, turn)
        print(f"ratio: log and workers {kafka[0] / file[0]:.2f}, all {kafka[1] / file[1]:.2f}", flush=True)
