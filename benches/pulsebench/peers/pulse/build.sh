#!/bin/bash
cd "$(dirname "$0")" && exec cargo build --release -p pulse-dataflows --example j1 --target-dir target --manifest-path ../../../../Cargo.toml
