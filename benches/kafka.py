#!/usr/bin/env python3
"""CPU an event of a worker with the log on Apache Kafka against one with the log in a file, in turn.

    benches/kafka.py PULSE BROKERS [EVENTS] [ROUNDS]

EVENTS simulated events go to a gateway in bodies of 500, as fast as it takes them, until all are scored. On Kafka the worker is a process
of its own (`pulse worker`, one thread, one partition), and all of it counts, from its start on. In a file all is one process (`pulse run`):
what counts are the threads that read, decode, score, write outputs and take checkpoints, by /proc; the log's writer is among them,
which appends the gateway's events too. The broker's own CPU is not counted.
"""
import os, re, signal, socket, subprocess, sys, tempfile, time, urllib.request

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


def start(folder, *words):
    words = [PULSE, *words, "--data", folder + "/data", "--config", folder + "/pulse.toml"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def address(process):
    return process.stdout.readline().split("http://")[1].strip()


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def send(gateway, scored):
    words = ["--seed", "7", "--events", str(EVENTS), "--to", f"http://{gateway}"]
    subprocess.run([PULSE, "simulate", *words], check=True, stdout=subprocess.DEVNULL)
    while metric(scored, "pulse_events_scored_total") < EVENTS:
        time.sleep(0.2)


def end(process):
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def told(name, used):
    us = {k: round(v / EVENTS * 1e6, 1) for k, v in sorted(used.items(), key=lambda x: -x[1])}
    print(f"{name}: {sum(used.values()) / EVENTS * 1e6:.1f} us/event;", {k: v for k, v in us.items() if v >= 0.2}, flush=True)
    return sum(used.values())


def file():
    with tempfile.TemporaryDirectory(prefix="pulse-bench-") as folder:
        open(folder + "/pulse.toml", "w").close()
        run = start(folder, "run", "--once", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0")
        gateway, sidecar = address(run), address(run)
        send(gateway, sidecar)
        used = {k: v for k, v in threads(run.pid).items() if OWN.match(k)}
        end(run)
    return told("file ", used)


def kafka(turn):
    with tempfile.TemporaryDirectory(prefix="pulse-bench-") as folder:
        at = f"127.0.0.1:{port()}"
        with open(folder + "/hosts", "w") as hosts:
            hosts.write(f"127.0.0.1:{port()}\n")
        with open(folder + "/pulse.toml", "w") as config:
            config.write(
                f'[log]\nkind = "kafka"\nbrokers = "{BROKERS}"\n[log.kafka]\npartitions = 1\nprefix = "k{os.getpid()}{turn}."\n'
                '[cluster]\nsecret = "a secret for one measurement"\nheartbeat_ms = 20000\n'
            )
        worker = start(folder, "worker", "--process", "0", "--hosts", folder + "/hosts", "--threads", "1", "--listen", at)
        worker.stdout.readline()  # it is at work
        gateway = start(folder, "gateway", "--no-auth", "--listen", "127.0.0.1:0")
        send(address(gateway), at)
        used = threads(worker.pid)
        end(gateway)
        end(worker)
    return told("Kafka", used)


if __name__ == "__main__":
    for turn in range(ROUNDS):
        one, other = file(), kafka(turn)
        print(f"ratio {other / one:.2f}", flush=True)
