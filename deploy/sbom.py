#!/usr/bin/env python3
"""What the program is made of: a CycloneDX 1.5 list and the licences of everything in it.

    cargo metadata --format-version 1 --locked --filter-platform TARGET [--features ...] | deploy/sbom.py OUT_FOLDER

Standard library only. Build tools and tests' libraries are left out: only what `pulse` depends on to run or to be built. The same lock file
gives the same bytes.
"""
import hashlib
import json
import pathlib
import re
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = re.compile(r"^(licen[cs]e|copying|notice|copyright|unlicense)", re.I)


def reached(metadata):
    """Ids of packages that the program depends on, not by its tests."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    start = next(p["id"] for p in metadata["packages"] if p["name"] == "pulse-ecom")
    found, waiting = {}, [start]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        deps = [d["pkg"] for d in nodes[at]["deps"] if any(k["kind"] != "dev" for k in d["dep_kinds"])]
        found[at] = sorted(deps)
        waiting += deps
    return start, found


def main(out):
    metadata = json.load(sys.stdin)
    packages = {p["id"]: p for p in metadata["packages"]}
    start, found = reached(metadata)
    lock = (ROOT / "Cargo.lock").read_bytes()
    sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads(lock.decode())["package"]}

    def purl(package):
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package):
        ours = package["source"] is None
        one = {
            "type": "application" if package["id"] == start else "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
            "licenses": [{"expression": (package["license"] or "NOASSERTION").replace("/", " OR ")}],
            "scope": "required",
        }
        if package.get("description"):
            one["description"] = " ".join(package["description"].split())
        if not ours and sums.get((package["name"], package["version"])):
            one["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        return one

    order = sorted(found, key=lambda i: (packages[i]["name"], packages[i]["version"]))
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=hashlib.sha256(lock).digest()[:16], version=4)}",
        "version": 1,
        "metadata": {"component": component(packages[start])},
        "components": [component(packages[i]) for i in order if i != start],
        "dependencies": [
            {"ref": purl(packages[i]), "dependsOn": sorted(purl(packages[d]) for d in found[i])} for i in order
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "sbom.cdx.json").write_text(json.dumps(bom, indent=1) + "\n")

    texts, without = {}, []
    for i in order:
        package = packages[i]
        if package["source"] is None:
            continue
        name = f"{package['name']} {package['version']} ({package['license']})"
        folder = pathlib.Path(package["manifest_path"]).parent
        files = sorted(p for p in folder.iterdir() if p.is_file() and NAMES.match(p.name))
        if not files:
            without.append(name)
        for path in files:
            text = path.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(name)
    with (out / "THIRD-PARTY-LICENSES.txt").open("w") as file:
        file.write("PulseEcom is built from these libraries. Each text stands once, below those that come with it.\n")
        for text, names in sorted(texts.items(), key=lambda item: item[1][0]):
            file.write("\n" + "=" * 100 + "\n" + "\n".join(sorted(set(names))) + "\n\n" + text + "\n")
        if without:
            file.write("\n" + "=" * 100 + "\nThese come without a text, under the licences named:\n" + "\n".join(without) + "\n")
    print(f"{len(order) - 1} libraries, {len(texts)} texts of licences, {len(without)} libraries without a text", file=sys.stderr)


main(pathlib.Path(sys.argv[1]))
