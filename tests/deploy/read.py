"""Files for other people's programs, checked by their schemas and printed as JSON.

    read.py compose FILE    a compose file, its variables set from the environment
    read.py kube VERSION    documents of Kubernetes on the standard input

Fails with what is wrong. Deliberately absent: what the parts do; they are started by the test.
"""
import json
import os
import re
import sys

import yaml


def variable(match):
    name, fallback = match.group(1), match.group(2)
    if name in os.environ:
        return os.environ[name]
    raise SystemExit(f"{name}: {fallback}")


def compose(path):
    import compose_spec

    with open(path) as file:
        text = re.sub(r"\$\{([A-Z_]+):\?([^}]*)\}", variable, file.read())
    document = yaml.safe_load(text)
    # anchors are resolved first: the schema knows what is meant, not how it is written
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(document)).validate()
    return document


def kube(version):
    import kubernetes_validate

    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    return documents


if __name__ == "__main__":
    json.dump({"compose": compose, "kube": kube}[sys.argv[1]](sys.argv[2]), sys.stdout)
