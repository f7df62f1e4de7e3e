#!/usr/bin/env python3
"""CPU an event of workers over Kafka: one process with two threads against two processes with one thread each, in turn.

    benches/cluster.py PULSE BROKERS EVENTS [RATE] [ROUNDS]

PULSE: the program. BROKERS: an Apache Kafka, as `tests/services/kafka.sh start` makes it. Without RATE (or 0) the events wait in the log
when the workers start, and their start counts too; with RATE so many a second are sent while they run. Times are those of
the workers' processes and threads (/proc), of all of their life; the broker's are not counted.
"""
import os, re, signal, socket, subprocess, sys, tempfile, time, urllib.request

PULSE, BROKERS, EVENTS = os.path.abspath(sys.argv[1]), sys.argv[2], int(sys.argv[3])
RATE = float(sys.argv[4]) if len(sys.argv) > 4 else 0
ROUNDS = int(sys.argv[5]) if len(sys.argv) > 5 else 2
TICK = os.sysconf("SC_CLK_TCK")
QUIET = 4.0  # nothing more is scored for so long: done


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
    return {k: round(v, 2) for k, v in sorted(used.items(), key=lambda x: -x[1]) if v >= 0.05}


def get(address):
    return urllib.request.urlopen(address, timeout=5).read().decode()


def metric(at, name):
    try:
        lines = get(f"http://127.0.0.1:{at}/metrics").splitlines()
    except OSError:
        return 0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(name + r"[{ ]", line))


def start(folder, processes, workers):
    with open(folder + "/hosts", "w") as hosts:
        hosts.writelines(f"127.0.0.1:{port()}\n" for _ in range(processes))
    ports = [port() for _ in range(processes)]
    words = ["--hosts", folder + "/hosts", "--threads", str(workers), "--config", folder + "/pulse.toml"]
    run = lambda i: [PULSE, "worker", "--process", str(i), "--listen", f"127.0.0.1:{ports[i]}", *words]
    all = [subprocess.Popen(run(i), stdout=subprocess.PIPE) for i in range(processes)]
    for process in all:
        process.stdout.readline()  # it is at work
    return all, ports


def stop(all):
    all[-1].send_signal(signal.SIGTERM)
    for process in all:
        assert process.wait(60) == 0, process.returncode


def feed(folder):
    at = port()
    words = ["--config", folder + "/pulse.toml", "--no-auth", "--listen", f"127.0.0.1:{at}"]
    gateway = subprocess.Popen([PULSE, "gateway", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    gateway.stdout.readline()
    words = ["--seed", "7", "--events", str(EVENTS), "--to", f"http://127.0.0.1:{at}"]
    subprocess.run([PULSE, "simulate", *words, *(["--rate", str(RATE)] if RATE else [])], check=True, stdout=subprocess.DEVNULL)
    gateway.send_signal(signal.SIGTERM)
    gateway.wait(30)


def measure(processes, workers, tag):
    folder = tempfile.mkdtemp(prefix="pulse-cluster-")
    with open(folder + "/pulse.toml", "w") as config:
        config.write(
            f'[data]\ndir = "{folder}/data"\n[log]\nkind = "kafka"\nbrokers = "{BROKERS}"\n[log.kafka]\npartitions = 4\n'
            f'prefix = "b{os.getpid()}{tag}."\n[cluster]\nsecret = "a secret for one measurement"\nheartbeat_ms = 20000\n'
            '[telemetry]\nlog_level = "warn"\n'
        )
    stop(start(folder, processes, workers)[0])  # makes the topics
    if not RATE:
        feed(folder)
    all, ports = start(folder, processes, workers)
    if RATE:
        feed(folder)
    scored, since = -1, time.time()
    while time.time() - since < QUIET:
        now = sum(metric(at, "pulse_events_scored_total") for at in ports)
        if now != scored:
            scored, since = now, time.time()
        time.sleep(0.1)
    used = [seconds(f"/proc/{process.pid}/stat")[1] for process in all]
    epochs = metric(ports[0], "pulse_epochs_total")
    each = sum(used) / max(scored, 1) * 1e6
    print(f"{processes} processes x {workers} threads: {scored:.0f} events, {epochs:.0f} epochs, {sum(used):.2f} s, {each:.1f} us/event")
    for process in all:
        print("   ", threads(process.pid), flush=True)
    stop(all)
    return each


if __name__ == "__main__":
    for turn in range(ROUNDS):
        one, two = measure(1, 2, f"a{turn}"), measure(2, 1, f"b{turn}")
        print(f"ratio {two / one:.2f}", flush=True)
