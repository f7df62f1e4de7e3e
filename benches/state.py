#!/usr/bin/env python3
"""What a large state costs `pulse run`: memory, the start after a kill -9, and checkpoints while it runs.

    benches/state.py PULSE [CUSTOMERS] [ROUNDS]

CUSTOMERS (a million) customers with two or three events each and a session, device, card, address and e-mail of their own go to the
gateway; then
- kill -9, and how long from the new start until an event that is sent meanwhile is scored; the program's log says what reading
  and decoding the checkpoint alone took, CPU beside it, since a busy machine stretches both;
- once all is in the store, CPU an event and the latency from receipt to scored, in turn with a checkpoint every three seconds and with none,
  both with the same whole state, 1,000 events a second.
"""
import json, os, re, signal, subprocess, sys, tempfile, threading, time, urllib.request

PULSE = os.path.abspath(sys.argv[1])
CUSTOMERS = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 2
TICK = os.sysconf("SC_CLK_TCK")
BODY, RATE, SECONDS = 1000, 1000, 20
NEVER_MS, OFTEN_MS = 86_400_000, 3_000


def event(c, step, kind):
    ip = f"{20 + (c >> 24)}.{c >> 16 & 255}.{c >> 8 & 255}.{c & 255}"
    return (f'{{"id":"e-{c}-{step}","type":"{kind}","customer_id":"c-{c}","session_id":"s-{c}","device_id":"d-{c}","email_hash":"m-{c}",'
            f'"ip":"{ip}","country":"DE","amount":{20 + c % 50}.50,"currency":"EUR","payment":{{"card":"k-{c}"}},'
            f'"items":[{{"product_id":"p-{c % 10000}","quantity":1,"price":{20 + c % 50}.50}}]}}')


def post(at, body):
    request = urllib.request.Request(f"http://{at}/api/v1/events:batch", body.encode(), {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=60).read()


def metric(at, name):
    lines = urllib.request.urlopen(f"http://{at}/metrics", timeout=60).read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(name + r"[{ ]", line))


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid, what):
    return int(re.search(what + r":\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1000


def start(folder, every_ms):
    with open(folder + "/pulse.toml", "w") as config:
        config.write(f"[workers]\ncheckpoint_every_ms = {every_ms}\n")
    words = ["--once", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0", "--data", folder + "/data"]
    run = subprocess.Popen([PULSE, "run", *words, "--config", folder + "/pulse.toml"], stdout=subprocess.PIPE,
                           stderr=open(folder + "/log", "a"), text=True)
    return run, *(run.stdout.readline().split("http://")[1].strip() for _ in range(2))


def fill(gateway, sidecar):
    steps = ["product.viewed", "order.completed", "payment.captured"]
    body, sent = [], 0
    for c in range(CUSTOMERS):
        body += [event(c, i, kind) for i, kind in enumerate(steps[: 3 - c % 2])]
        if len(body) >= BODY or c == CUSTOMERS - 1:
            while True:
                try:
                    post(gateway, "[" + ",".join(body) + "]")
                    break
                except urllib.error.HTTPError as e:
                    if e.code not in (429, 503):
                        raise
                    time.sleep(0.2)  # it cannot take more at the moment
            sent, body = sent + len(body), []
    while metric(sidecar, "pulse_events_scored_total") < sent:
        time.sleep(0.2)
    return sent


def steady(gateway, tag):
    for second in range(SECONDS * 20):
        due = time.monotonic() + 0.05
        post(gateway, "[" + ",".join(event((second * 7919 + i * 104729) % CUSTOMERS, f"{tag}-{second}", "product.viewed") for i in range(RATE // 20)) + "]")
        time.sleep(max(0, due - time.monotonic()))


def stage(sidecar):
    stages = json.load(urllib.request.urlopen(f"http://{sidecar}/metrics/latency?format=json", timeout=30))["stages"]
    return {s["stage"]: {q: round(s["total"][q] * 1e3, 1) for q in ("p50_s", "p95_s", "p99_s", "max_s")} for s in stages}


def main():
    with tempfile.TemporaryDirectory(prefix="pulse-bench-") as folder:
        run, gateway, sidecar = start(folder, 20_000)
        began, sent = time.time(), fill(gateway, sidecar)
        print(f"{sent} events of {CUSTOMERS} customers in {time.time() - began:.0f} s, {cpu(run.pid) / sent * 1e6:.1f} us/event; "
              f"{memory(run.pid, 'VmRSS'):.0f} MB, at most {memory(run.pid, 'VmHWM'):.0f}", flush=True)
        for turn in range(ROUNDS):
            before = metric(sidecar, "pulse_checkpoints_total")
            while metric(sidecar, "pulse_checkpoints_total") < before + (18 if turn == 0 else 2):
                post(gateway, "[" + event(turn, f"c{time.time()}", "product.viewed") + "]")
                time.sleep(1)
            run.kill()
            run.wait()
            began = time.time()
            run, gateway, sidecar = start(folder, 20_000)
            post(gateway, "[" + event(turn, f"k{turn}", "product.viewed") + "]")
            while metric(sidecar, "pulse_events_scored_total") < 1:
                time.sleep(0.02)
            took, used = time.time() - began, cpu(run.pid)
            said = [line for line in open(folder + "/log") if "going on from a checkpoint" in line]
            print(f"kill -9: {took:.2f} s from the start to the first new score, {used:.1f} s of CPU; load {os.getloadavg()[0]:.1f}; "
                  f"{said[-1].strip() if said else ''}", flush=True)
        for turn in range(ROUNDS):
            for every_ms in (NEVER_MS, OFTEN_MS):
                run.send_signal(signal.SIGTERM)
                run.wait(120)
                run, gateway, sidecar = start(folder, every_ms)
                while metric(sidecar, "pulse_persist_lag_records") > 0:
                    time.sleep(0.5)
                used = cpu(run.pid)
                steady(gateway, f"{turn}-{every_ms}")
                used = (cpu(run.pid) - used) / (RATE * SECONDS) * 1e6
                print(f"checkpoint every {every_ms} ms: {used:.1f} us/event, {metric(sidecar, 'pulse_checkpoints_total'):.0f} written;",
                      stage(sidecar), flush=True)
        run.kill()
        run.wait()


if __name__ == "__main__":
    main()
