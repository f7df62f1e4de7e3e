//! A browser with a script for it: `browser.cjs` in Node, one line of JSON for each thing it has seen, and a line back when it may go on.

use serde_json::Value;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Browser {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Starts it on a scenario.
    pub fn start(scenario: &str, what: &Value) -> Browser {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "600", "node"]).arg(root.join("tests/dashboard/browser.cjs"));
        command.arg(scenario).arg(what.to_string()).env("NODE_PATH", root.join("target/tools/browser/node_modules"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Browser { child, input, lines: BufReader::new(output).lines() }
    }
    /// The next thing it has seen.
    pub fn seen(&mut self) -> Value {
        let line = self.lines.next().unwrap_or_else(|| panic!("the browser ended: {:?}", self.child.wait())).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }
    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.input.write_all(b"go on\n").unwrap();
    }
    /// Its last words: nothing on the console, no request elsewhere.
    pub fn end(mut self) {
        let last = self.seen();
        assert_eq!(last["console"], serde_json::json!([]), "errors on the console");
        assert_eq!(last["elsewhere"], serde_json::json!([]), "requests that leave the machine");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
