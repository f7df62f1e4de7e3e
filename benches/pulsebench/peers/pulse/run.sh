#!/bin/bash
# run.sh DATA OUT WORKERS
exec "$(dirname "$0")/target/release/examples/j1" --data "$1" --out "$2" --workers "$3"
